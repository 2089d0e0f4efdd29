"""Proofs from a service as users run it, verified without the service; every command of the how-to, as printed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from harness.program import forks
from harness.program.service import ServiceProcess, run_service_process
from saldo.client import proof as verifier
from saldo.client.proof import InvalidProofError, verify_proof

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/howto/prove.md").read_text()
UUID = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"

SECONDS_MAX = 60


def create_user(running: ServiceProcess) -> int:
    answer = httpx.post(f"{running.url}/v1/user", json={"name": str(uuid4())})
    return int(answer.json()["id"])


def post(running: ServiceProcess, user_id: int, type_: str, amount: str, **given: str) -> str:
    """Post a transaction and return its uuid; the transaction may be refused."""
    body = {"uuid": str(uuid4()), "type": type_, "amount": amount, "user_id": user_id} | given
    assert httpx.post(f"{running.url}/v1/transaction", json=body).status_code in {200, 402}
    return body["uuid"]  # type: ignore[return-value]


def proof(running: ServiceProcess, uuid: str) -> Any:
    """Return the proof of a transaction as soon as the transaction is sealed."""
    deadline = time.monotonic() + SECONDS_MAX
    while (answer := httpx.get(f"{running.url}/v1/proof/{uuid}")).status_code != 200:
        assert answer.json()["code"] == "not_sealed_yet", answer.text
        assert answer.headers["retry-after"] == "1"
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.1)
    return answer.json()


def seals(running: ServiceProcess, **parameters: int) -> Any:
    return httpx.get(f"{running.url}/v1/seals", params=parameters).json()


def opening(running: ServiceProcess, user_id: int) -> str:
    """Return the uuid of a user's opening entry, which the live stream contains."""
    parameters = {"from": "start", "user_id": str(user_id)}
    with httpx.stream("GET", f"{running.url}/v1/events", params=parameters) as stream:
        data = next(line for line in stream.iter_lines() if line.startswith("data:"))
    return str(json.loads(data.removeprefix("data:"))["id"])


def test_proofs_of_every_kind_of_entry_are_verified_without_the_service(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        user_id = create_user(running)
        uuids = {
            "opening": opening(running, user_id),
            "posted": post(running, user_id, "DEPOSIT", "100"),
            "withdrawn": post(running, user_id, "WITHDRAW", "30.01"),
            "refused": post(running, user_id, "WITHDRAW", "1000"),
            "late": post(running, user_id, "DEPOSIT", "5", timestamp="2020-02-29T12:00:00.5Z"),
        }
        proofs = {name: proof(running, uuid) for name, uuid in uuids.items()}
        kept = seals(running)
        # The transaction in the proof must be the one that the API returns.
        recorded = httpx.get(f"{running.url}/v1/transaction/{uuids['late']}").json()
        chains = [seals(running, shard=user_id % 64, limit=1, after=seq) for seq in range(5)]
    for name, each in proofs.items():
        assert verify_proof(each, kept=[kept], chain=chains), name
    entries = {name: each["entry"] for name, each in proofs.items()}
    assert [each["seq"] for each in entries.values()] == [1, 2, 3, 4, 5]
    assert entries["opening"]["kind"] == "OPENING"
    assert entries["opening"]["timestamp"] is None
    assert entries["refused"]["outcome"] == "insufficient_funds"
    assert entries["withdrawn"]["amount"] == -3001
    late = entries["late"]
    assert late["timestamp"] == "2020-02-29T12:00:00.500000+00:00" < late["horizon"]
    assert recorded["recorded_at"] == late["recorded_at"]
    assert (recorded["balance"], late["balance"]) == ("74.99", 7499)


def test_next_relay_seals_what_a_killed_one_left(
    tmp_path: Path,
) -> None:
    with run_service_process(tmp_path, SALDO_RELAY_LEASE_SECONDS="1") as running:
        user_id = create_user(running)
        uuids = [post(running, user_id, "DEPOSIT", "1")]
        proof(running, uuids[0])
        for _ in range(3):
            relay = _relay_of(running)
            uuids += [post(running, user_id, "DEPOSIT", "1") for _ in range(20)]
            relay.kill()
            relay.wait(SECONDS_MAX)
            uuids += [post(running, user_id, "DEPOSIT", "1") for _ in range(20)]
            proof(running, uuids[-1])
        chain = seals(running, shard=user_id % 64)
        for uuid in uuids:
            assert verify_proof(proof(running, uuid), kept=[seals(running)], chain=[chain])


def _relay_of(running: ServiceProcess) -> psutil.Process:
    """Return the relay's process once it runs; the other child is the resource tracker of multiprocessing."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        for child in psutil.Process(running.process.pid).children():
            try:
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
            except psutil.NoSuchProcess:
                continue
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.1)


def test_seal_chain_continues_after_a_kill(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        user_id = create_user(running)
        first = post(running, user_id, "DEPOSIT", "1")
        proven = proof(running, first)
        kept = seals(running)
        last = post(running, user_id, "DEPOSIT", "1")
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait(SECONDS_MAX)
    with run_service_process(tmp_path) as running:
        assert verify_proof(proof(running, last), kept=[seals(running)], chain=[])
        chain = seals(running, shard=user_id % 64)
        assert verify_proof(proven, kept=[kept, seals(running)], chain=[chain])


def test_seals_of_a_restored_ledger_differ_from_kept_seals_of_the_lost_one(
    tmp_path: Path,
) -> None:
    def saldo(*arguments: str) -> None:
        forks.run(arguments, cwd=tmp_path, check=True, capture_output=True)

    with run_service_process(tmp_path) as running:
        user_id = create_user(running)
        before = post(running, user_id, "DEPOSIT", "1")
        proven, kept = proof(running, before), seals(running)
        saldo("backup", "backup")
        lost = proof(running, post(running, user_id, "DEPOSIT", "2"))
        kept_of_lost = seals(running)
    saldo("restore", "backup", "--data-dir", "restored")
    with run_service_process(tmp_path, SALDO_DATA_DIR="restored") as running:
        after = proof(running, post(running, user_id, "DEPOSIT", "3"))
        chain = seals(running, shard=user_id % 64)
        assert verify_proof(proof(running, before), kept=[kept], chain=[chain])
        assert verify_proof(proven, kept=[seals(running)], chain=[chain])
        assert verify_proof(after, kept=[seals(running)], chain=[chain])
    assert after["entry"]["seq"] == lost["entry"]["seq"]
    with pytest.raises(InvalidProofError, match="the saved seal differs"):
        verify_proof(after, kept=[kept_of_lost], chain=[chain])


def test_service_without_seals_gives_no_proof_and_a_later_one_does(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_SEALS_ENABLED="false") as running:
        uuid = post(running, create_user(running), "DEPOSIT", "1")
        answer = httpx.get(f"{running.url}/v1/proof/{uuid}")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_sealed_yet")
        assert "saldo_seals" not in httpx.get(f"{running.url}/metrics").text
    with run_service_process(tmp_path) as running:
        assert verify_proof(proof(running, uuid), kept=[seals(running)])
        metrics = httpx.get(f"{running.url}/metrics").text
        assert re.search(r"^saldo_sealed_entries 2\.0$", metrics, re.MULTILINE)
        assert re.search(r"^saldo_seals_seconds_behind 0\.0$", metrics, re.MULTILINE)


def test_how_to_commands_work_as_printed(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    # The last one is run by test_signed_heads.py.
    assert len(blocks) == 5
    (tmp_path / "proof.py").write_bytes(Path(verifier.__file__).read_bytes())
    with run_service_process(tmp_path) as running:
        user_id = create_user(running)
        assert user_id == 1
        for amount in ("30", "20"):
            post(running, 1, "DEPOSIT", amount)
        post(running, 1, "DEPOSIT", "25", uuid=UUID)
        proof(running, UUID)

        def run(command: str) -> str:
            done = subprocess.run(
                ["bash", "-euc", command.replace("http://localhost:8000", running.url)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            return done.stdout

        said = run(blocks[0])
        shown = re.search(r"```\n(consistent, NOT anchored: .*?)\n```", TEXT)
        assert shown is not None
        assert UUID in said
        said_line, shown_line = (
            re.sub(r"in the seal [0-9a-f]+…?", "in the seal", line.strip())
            for line in (said, shown[1])
        )
        assert said_line == shown_line
        post(running, 1, "DEPOSIT", "1")
        later = post(running, 1, "DEPOSIT", "1")
        proof(running, later)
        run(blocks[1])
        run(blocks[3])
        (only,) = tmp_path.glob("seals-*.json")
        # The kept seal is the one that was the newest when the proof was made, so no chain is needed.
        only.write_text(
            json.dumps({"items": [json.loads((tmp_path / "proof.json").read_text())["seal"]]})
        )
        run(blocks[2])
