"""`saldo keys` and the start of `saldo serve`, as an operator uses them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from harness.events.subscribers import Subscriber
from harness.program import forks
from harness.program.environment import copy_environment
from harness.program.service import ServiceProcess, run_service_process

PAGE = Path(__file__).parents[3] / "docs/howto/secure.md"
KEY = "an-admin-key-of-the-operators-own-0123456789"


def saldo(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return forks.run(
        arguments,
        cwd=directory,
        env=copy_environment() | settings | {"COLUMNS": "200", "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def create_key(directory: Path, *arguments: str) -> tuple[int, str]:
    """Create a key, and return its id and the key itself."""
    found = saldo(directory, "keys", *arguments)
    match = re.fullmatch(r"key (\d+): (saldo_\S{43})\n", found.stdout)
    assert match is not None, found
    return int(match[1]), match[2]


def status(url: str, key: str | None, path: str = "/v1/user") -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.get(f"{url}{path}", headers=headers).status_code


async def test_operator_creates_replaces_and_revokes_keys(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_KEYS_REFRESH_SECONDS="0.1") as running:
        assert status(running.url, None) == 200
        number, key = create_key(
            tmp_path, "create", "billing", "--scope", "read", "--scope", "write"
        )
        while status(running.url, None) != 401:
            pass  # keys are reloaded ten times a second
        assert status(running.url, key) == 200
        assert status(running.url, key, "/metrics") == 403
        _, metrics = create_key(tmp_path, "create", "prometheus", "--scope", "metrics")
        assert status(running.url, metrics, "/metrics") == 200

        listed = saldo(tmp_path, "keys", "list").stdout
        assert "billing" in listed and "read, write" in listed and key not in listed

        rotate = ("rotate", str(number), "--overlap-seconds", "3600")
        new_number, new = create_key(tmp_path, *rotate)
        assert (status(running.url, key), status(running.url, new)) == (200, 200)
        assert "or was already rotated" in saldo(tmp_path, "keys", *rotate).stderr

        async with Subscriber(running.url, authorization=f"Bearer {new}") as subscriber:
            assert subscriber.status == 200
            assert saldo(tmp_path, "keys", "revoke", str(new_number)).returncode == 0
            while status(running.url, new) != 401:
                pass
            httpx.post(
                f"{running.url}/v1/user",
                json={"name": "user-7341"},
                headers={"authorization": f"Bearer {key}"},
            ).raise_for_status()
            blocks = [block async for block in subscriber.blocks()]
            assert "the key is no longer valid" in blocks[-1].comments
            assert all(block.data is None for block in blocks)
        again = saldo(tmp_path, "keys", "revoke", str(new_number))
        assert (again.returncode, again.stderr) == (
            1,
            f"saldo: key {new_number} is already revoked\n",
        )
        assert key not in running.output() and new not in running.output()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "x", "--scope", "everything"), 2, "scopes must be a list of read, write"),
        (
            ("create", "x", "--scope", "read", "--network", "here"),
            2,
            "networks must contain networks such as",
        ),
        (
            ("create", "x", "--scope", "read", "--expires-at", "2020-01-01"),
            2,
            "expires_at must be in the",
        ),
        (("create", "x", "--scope", "admin", "--user", "1"), 2, "user_ids are allowed only with"),
        (("revoke", "99"), 1, "there is no key 99"),
        (("rotate", "99"), 1, "there is no key 99"),
    ],
)
def test_invalid_arguments_are_one_line(
    shared_directory: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found = saldo(shared_directory, "keys", *arguments, "--local")
    assert found.returncode == code
    assert found.stderr.startswith(f"saldo: {said}") and found.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with one embedded database for all tests."""
    return tmp_path_factory.mktemp("keys")


def test_service_without_keys_does_not_start_on_a_public_address(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        refused = saldo(tmp_path, "serve", "--host", host, "--port", "0")
        assert refused.returncode == 2
        assert "there is no API key yet" in refused.stderr.splitlines()[-1]
        assert "saldo keys create --local" in refused.stderr and "--insecure" in refused.stderr
    for settings in (
        {"SALDO_HOST": "0.0.0.0", "SALDO_INSECURE": "true"},
        {"SALDO_HOST": "0.0.0.0", "SALDO_ADMIN_KEY": KEY},
    ):
        start_service(tmp_path, **settings)
    create_key(tmp_path, "create", "--local", "first", "--scope", "admin")
    start_service(tmp_path, SALDO_HOST="0.0.0.0")


def start_service(directory: Path, **settings: str) -> None:
    running = ServiceProcess(directory, **settings)
    try:
        running.wait_until_ready()
    finally:
        running.end()


def test_key_in_the_settings_must_be_long_and_is_never_shown(tmp_path: Path) -> None:
    for name in ("SALDO_ADMIN_KEY", "SALDO_METRICS_KEY"):
        found = saldo(tmp_path, "keys", "list", **{name: "too-short-but-secret"})
        assert found.returncode == 2
        assert name in found.stderr and "32" in found.stderr
        assert "too-short-but-secret" not in found.stderr


def test_incomplete_provider_settings_are_rejected(tmp_path: Path) -> None:
    found = saldo(tmp_path, "keys", "list", SALDO_JWT_ISSUER="https://id.example")
    assert found.returncode == 2
    assert "SALDO_JWT_AUDIENCE" in found.stderr and "all of them or none" in found.stderr


def test_how_to_commands_work_as_printed(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = copy_environment() | {"PATH": programs, "COLUMNS": "200"}
    with run_service_process(tmp_path, SALDO_KEYS_REFRESH_SECONDS="0.1") as running:
        for block in blocks:
            done = subprocess.run(
                ["bash", "-euc", block.replace("http://localhost:8000", running.url)],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done
            if "curl" in block:
                assert '"items":[]' in done.stdout, done
            for key in re.findall(r"saldo_\S{43}", done.stdout):
                environment.setdefault("KEY", key)
