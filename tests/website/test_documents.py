"""The tutorial and the how-to pages of the command line, run word for word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.prerequisites import find_program, skip_or_fail
from harness.program.service import ServiceProcess, run_service_process
from tests.website.documents import blocks, plain, run


def test_the_tutorial_is_followed_word_for_word(tmp_path: Path) -> None:
    first, path, *others = blocks("tutorial.md")
    # `make serve` is in the README, too; here the test waits for the message that it is ready.
    assert (first.commands, first.output) == (
        "make serve\n",
        "listening on http://127.0.0.1:8000\n",
    )
    assert path.commands == 'export PATH="$PWD/.venv/bin:$PATH"\n'
    assert len(others) > 8
    with run_service_process(tmp_path) as running:
        for commands, output in others:
            printed = run(commands, tmp_path, running.url)
            if output is None:
                assert "█" in printed  # the chart
            else:
                assert plain(printed) == plain(output), commands
        chart = httpx.get(f"{running.url}/console/users/1")
    assert chart.status_code == 200
    assert "customer-4711" in chart.text


@pytest.mark.parametrize(
    ("page", "number"), [("command-line", 4), ("import-export", 3), ("statements", 3)]
)
def test_how_to_commands_work_as_printed(page: str, number: int, tmp_path: Path) -> None:
    commands = [block.commands for block in blocks(f"howto/{page}.md")]
    assert len(commands) == number
    with run_service_process(tmp_path) as running:
        if page != "command-line":  # that page creates its own users
            run("saldo user create customer-4711 && saldo deposit 1 100", tmp_path, running.url)
        printed = [run(each, tmp_path, running.url) for each in commands]
    assert all(each.strip() for each in printed)


@pytest.fixture
def curl() -> None:
    if find_program("curl", "curl") is None:
        skip_or_fail("curl", "no curl (Debian: package curl)")


@pytest.mark.usefixtures("curl")
def test_reliable_client_posts_once_however_often_it_is_run(tmp_path: Path) -> None:
    create, post, balance = blocks("howto/reliable-clients.md")
    with run_service_process(tmp_path) as running:
        run(create.commands, tmp_path, running.url)
        for _ in range(2):
            assert run(post.commands, tmp_path, running.url) == post.output
        assert plain(run(balance.commands, tmp_path, running.url)) == plain(balance.output or "")
    assert '"outcome":"posted"' in (tmp_path / "order-17.outcome.json").read_text()


ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"
SETTINGS = {"SALDO_ADMIN_KEY": ADMIN_KEY, "SALDO_KEYS_REFRESH_SECONDS": "0.1"}


class Operator:
    """An operator's shell and client on a service with an admin key."""

    def __init__(self, directory: Path, service: ServiceProcess) -> None:
        self._directory = directory
        self._url = service.url
        self._headers = {"authorization": f"Bearer {ADMIN_KEY}"}

    def run(self, commands: str) -> str:
        return run(commands, self._directory, self._url, SALDO_KEY=ADMIN_KEY)

    def post(self, path: str, **body: object) -> Any:
        answer = httpx.post(f"{self._url}/v1/{path}", json=body, headers=self._headers)
        assert answer.is_success, answer.text
        return answer.json()

    def deposit(self, user_id: int, amount: str, uuid: str, **fields: str) -> None:
        self.post(
            "transaction", uuid=uuid, type="DEPOSIT", amount=amount, user_id=user_id, **fields
        )

    def balances(self) -> list[str]:
        answer = httpx.get(f"{self._url}/v1/user", headers=self._headers)
        return [user["balance"] for user in answer.json()["items"]]


def _playbooks() -> list[str]:
    return [block.commands for block in blocks("howto/incident-playbooks.md")]


# Each command is a process that takes seconds on a busy machine.
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("curl")
def test_playbooks_correct_postings(tmp_path: Path) -> None:
    """Create each incident, run the commands of its playbook as printed, and look at the ledger afterwards."""
    revoke, find_foreign, move, find_doubles, reverse, clock, *_ = _playbooks()
    own, foreign = str(uuid4()), str(uuid4())
    with run_service_process(tmp_path, **SETTINGS) as running:
        operator = Operator(tmp_path, running)
        leaked = operator.post("key", name="leaked", scopes=["write"])["id"]
        operator.post("user", name="customer-1")
        operator.post("user", name="customer-2")
        operator.deposit(1, "50", own, timestamp="2026-03-01T09:00:00Z")
        (tmp_path / "sent.uuids").write_text(f"{own}\n")

        operator.run(revoke.replace("revoke 2", f"revoke {leaked}"))
        assert re.search(r"leaked.*revoked", operator.run("saldo keys list"))
        operator.deposit(1, "9", foreign)
        assert f"\n{foreign},DEPOSIT,9.00,1," in operator.run(find_foreign)
        (tmp_path / "sent.uuids").write_text(f"{own}\n{foreign}\n")
        assert "every posted transaction is yours" in operator.run(find_foreign)

        assert [item["code"] for item in json.loads(operator.run(move))] == ["posted"] * 2
        assert operator.balances() == ["9.00", "50.00"]

        for _ in range(3):
            operator.deposit(2, "7", str(uuid4()), timestamp="2026-04-01T00:00:00Z")
        operator.run(find_doubles)
        for _ in range(2):
            operator.run(reverse)
        assert operator.balances() == ["9.00", "57.00"]

        listed = operator.run(clock)
        assert own in listed
        assert foreign not in listed


@pytest.mark.timeout(900)
def test_playbook_of_a_restore_posts_the_lost_transactions_again(tmp_path: Path) -> None:
    restore, check, post_again = _playbooks()[-3:]
    uuids = [str(uuid4()) for _ in range(2)]
    (tmp_path / "sent-since-the-backup.csv").write_text(
        "uuid,type,amount,user_id,timestamp\n"
        + "".join(f"{uuid},DEPOSIT,5.00,1,2026-03-01T09:00:00Z\n" for uuid in uuids)
    )
    with run_service_process(tmp_path, **SETTINGS) as running:
        operator = Operator(tmp_path, running)
        operator.post("user", name="customer-1")
        operator.deposit(1, "5", uuids[0], timestamp="2026-03-01T09:00:00Z")
        operator.run("mkdir backups && saldo backup backups/last")
        operator.deposit(1, "5", uuids[1], timestamp="2026-03-01T09:00:00Z")
        operator.run(restore)
    with run_service_process(tmp_path, SALDO_DATA_DIR="restored", **SETTINGS) as running:
        operator = Operator(tmp_path, running)
        assert "the ledger is intact" in operator.run(check)
        assert operator.balances() == ["5.00"]
        assert "1 posted, 1 already posted before" in operator.run(post_again)
        assert operator.balances() == ["10.00"]
