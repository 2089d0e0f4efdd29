"""A rolling update: the code before the newest migration runs on the migrated database, beside the current code."""

from __future__ import annotations

import io
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.program.service import run_service_process
from saldo.store.embedded import EmbeddedServer

ROOT = Path(__file__).parents[3]
VERSIONS = "src/saldo/store/schema/migrations/versions"
POSTS = 200
"""Number of posts of each client."""


def git(*arguments: str) -> bytes:
    """Return git's output, or skip the test where there is no git history."""
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", *arguments],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git history: the code before the newest migration can't be had")
    return done.stdout


@pytest.fixture
def old_source(tmp_path: Path) -> Path:
    """Return the code of the last commit without the newest migration."""
    newest = max(path.name for path in (ROOT / VERSIONS).glob("[0-9]*.py"))
    # Wherever the migrations were at that time: a commit that moves them adds none.
    commits = git("log", "--format=%H", "--diff-filter=A", "--", f"*/versions/{newest}").split()
    before = f"{commits[-1].decode()}^" if commits else "HEAD"
    archive = git("archive", "--format=tar", before, "src")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(tmp_path / "old", filter="data")
    assert not [*(tmp_path / "old").rglob(newest)]
    # Code from before the package was renamed asks for the metadata of `saldo`.
    metadata = tmp_path / "old/src/saldo-0.1.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: saldo\nVersion: 0.1.0\n")
    return tmp_path / "old/src"


class Api:
    """One of the two services."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def create_user(self) -> int:
        answer = self._client.post("/v1/user", json={"name": str(uuid4())})
        assert answer.is_success, answer.text
        user_id: int = answer.json()["id"]
        return user_id

    def post(self, user_id: int, kind: str, uuid: str) -> int:
        content = {"uuid": uuid, "user_id": user_id, "type": kind, "amount": "1.00"}
        return self._client.post("/v1/transaction", json=content).status_code

    def balance(self, user_id: int) -> Any:
        return self._client.get(f"/v1/user/{user_id}/balance").json()["balance"]

    def transaction(self, uuid: str) -> Any:
        return self._client.get(f"/v1/transaction/{uuid}").json()


def test_old_and_new_code_serve_one_migrated_database(tmp_path: Path, old_source: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    try:
        urls = {
            "SALDO_DATABASE_URL": server.service_role_url,
            "SALDO_DATABASE_OWNER_URL": server.owner_role_url,
        }
        for name in ("new", "before"):
            (tmp_path / name).mkdir()
        with (
            run_service_process(tmp_path / "new", **urls) as new,  # this one migrates
            run_service_process(tmp_path / "before", **urls, PYTHONPATH=str(old_source)) as old,
            httpx.Client(base_url=new.url, timeout=30) as new_client,
            httpx.Client(base_url=old.url, timeout=30) as old_client,
        ):
            assert "newer than this version" in old.output()
            _serve_the_same(Api(new_client), Api(old_client))
    finally:
        server.stop()


def _serve_the_same(new: Api, old: Api) -> None:
    users = [new.create_user(), old.create_user()]
    uuids = {user: [str(uuid4()) for _ in range(POSTS)] for user in users}

    def post_all(api: Api, user: int) -> set[int]:
        return {api.post(user, "DEPOSIT", uuid) for uuid in uuids[user]}

    with ThreadPoolExecutor() as threads:
        # Both services get the same uuids at the same time; each is recorded once.
        posting = [threads.submit(post_all, api, user) for api in (new, old) for user in users]
        assert [done.result() for done in posting] == [{200}] * 4
    for user in users:
        assert [new.balance(user), old.balance(user)] == [f"{POSTS}.00"] * 2
        for api in (old, new):
            assert api.post(user, "WITHDRAW", str(uuid4())) == 200
        assert [new.balance(user), old.balance(user)] == [f"{POSTS - 2}.00"] * 2
        assert new.transaction(uuids[user][0]) == old.transaction(uuids[user][0])
