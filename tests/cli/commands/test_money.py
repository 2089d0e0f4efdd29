"""Commands for users and their money: deposit, withdraw, balance, transactions, watch, user."""

from __future__ import annotations

import json
import re
import signal
from uuid import uuid4

import httpx
import pytest

from harness.program.command import Program
from harness.program.service import ServiceProcess
from saldo.cli.exit_codes import ExitCode


def test_a_user_is_created_shown_and_listed(saldo: Program) -> None:
    name = f"Борис [{uuid4()}]"
    made = saldo("user", "create", name, "--json").json
    assert made["name"] == name
    assert made["balance"] == "0.00"
    shown = saldo("user", "show", str(made["id"])).output
    assert name in shown
    assert "0.00" in shown
    assert saldo("user", "list", "--name", name, "--json").lines == [made]
    assert name in saldo("user", "list", "--name", name).output


def test_limited_list_reports_that_there_are_more(saldo: Program) -> None:
    for _ in range(2):
        saldo.user(f"one of many {uuid4()}")
    assert len(saldo("user", "list", "--limit", "1", "--json").lines) == 1
    assert len(saldo("user", "list", "--json").lines) >= 2


def test_taken_name_names_the_existing_user(saldo: Program) -> None:
    name = f"taken {uuid4()}"
    user_id = saldo.user(name)
    ended = saldo("user", "create", name, code=ExitCode.REFUSED)
    assert f"the name is already used by user {user_id}" in ended.errors
    assert ended.output == ""


def test_deposit_and_withdraw(saldo: Program) -> None:
    user_id = saldo.user(f"money {uuid4()}")
    ended = saldo("deposit", user_id, "1100.50")
    assert re.match(r"deposited 1100\.50, balance 1100\.50, uuid [0-9a-f-]{36}\n", ended.output)
    found = saldo("withdraw", user_id, "100.25", "--json").json
    assert (found["type"], found["amount"], found["balance"]) == ("WITHDRAW", "100.25", "1000.25")
    assert found["outcome"] == "posted"
    assert saldo("balance", user_id).output == "1000.25\n"


def test_withdrawal_without_sufficient_funds_is_refused(saldo: Program) -> None:
    user_id = saldo.user(f"poor {uuid4()}")
    ended = saldo("withdraw", user_id, "1", code=ExitCode.REFUSED)
    assert "insufficient_funds" in ended.errors
    assert ended.output == ""
    (found,) = saldo("transactions", user_id, "--json").lines
    assert found["outcome"] == "insufficient_funds"
    assert saldo.balance(user_id) == 0


def test_the_same_uuid_has_one_effect(saldo: Program) -> None:
    user_id, uuid = saldo.user(f"twice {uuid4()}"), str(uuid4())
    assert "replayed" not in saldo("deposit", user_id, "5", "--uuid", uuid).output
    again = saldo("deposit", user_id, "5", "--uuid", uuid, "--json").json
    assert again["replayed"] is True
    assert saldo.balance(user_id) == 5
    ended = saldo("deposit", user_id, "6", "--uuid", uuid, code=ExitCode.REFUSED)
    assert "uuid" in ended.errors


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (("deposit", "1", "--", "-5"), "amount", ExitCode.USAGE),
        (("deposit", "1", "0.001"), "amount", ExitCode.USAGE),
        (("deposit", "1", "1e3"), "amount", ExitCode.USAGE),
        (("deposit", "1", "5", "--timestamp", "2199-01-01"), "timestamp", ExitCode.USAGE),
        (
            ("statement", "1", "--month", "2026-01", "--known-at", "2199-01-01"),
            "known_at",
            ExitCode.USAGE,
        ),
        (("user", "create", ""), "name", ExitCode.USAGE),
        (("deposit", "999999999", "5"), "999999999", ExitCode.REFUSED),
        (("balance", "999999999"), "999999999", ExitCode.REFUSED),
        (("transactions", "999999999"), "999999999", ExitCode.REFUSED),
        (("watch", "--user", "999999999"), "999999999", ExitCode.REFUSED),
        (("user", "show", "999999999"), "999999999", ExitCode.REFUSED),
    ],
)
def test_rejection_by_the_service_is_one_line_with_the_reason(
    saldo: Program, arguments: tuple[str, ...], named: str, code: ExitCode
) -> None:
    saldo.user(f"the first, or another one {uuid4()}")
    ended = saldo(*arguments, code=code)
    assert named in ended.errors.splitlines()[-1]
    assert ended.output == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("deposit", "0", "5"), "user_id"),
        (("deposit", "x", "5"), "user_id"),
        (("deposit", "1", "5", "--timestamp", "yesterday"), "--timestamp"),
        (("deposit", "1", "5", "--uuid", "x"), "--uuid"),
        (("balance", "1", "--date", "x"), "--date"),
        (("transactions", "1", "--type", "x"), "--type"),
        (("transactions", "1", "--limit", "0"), "--limit"),
        (
            ("transactions", "1", "--from", "2026-02-01", "--to", "2026-01-01"),
            "--from must be before",
        ),
        (("deposit", "1", "-5"), "-5: amounts and user ids can't be negative"),
        (("withdraw", "1", "-.5", "--json"), "-.5: amounts and user ids can't be negative"),
        (("watch", "--from", "x"), "--from"),
        (("watch", "--type", "x"), "--type"),
        (("nothing",), "nothing"),
    ],
)
def test_invalid_option_is_named_and_no_request_is_sent(
    arguments: tuple[str, ...], named: str
) -> None:
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    ended = nobody(*arguments, code=ExitCode.USAGE)
    assert named in ended.errors
    assert ended.output == ""


def test_balance_at_a_date(saldo: Program) -> None:
    user_id = saldo.user(f"past {uuid4()}")
    saldo("deposit", user_id, "10", "--timestamp", "2026-01-10T12:00:00Z")
    saldo("deposit", user_id, "5", "--timestamp", "2026-01-20T12:00:00Z")
    assert saldo("balance", user_id, "--date", "2026-01-15").output == "10.00\n"
    assert saldo("balance", user_id, "--date", "2026-01-01").output == "0.00\n"
    # The date is in the time zone of the settings: noon in UTC is the next day in Kiritimati.
    found = saldo("balance", user_id, "--date", "2026-01-20", SALDO_TIMEZONE="Pacific/Kiritimati")
    assert found.output == "10.00\n"


def test_balance_plot(saldo: Program) -> None:
    user_id = saldo.user(f"drawn {uuid4()}")
    saldo("deposit", user_id, "80")
    drawn = saldo("balance", user_id, "--plot").output
    assert "80.00 ┤" in drawn
    assert "40.00 ┤" in drawn
    assert "█" in drawn


def test_transactions_are_filtered_by_time_and_type(saldo: Program) -> None:
    user_id = saldo.user(f"chosen {uuid4()}")
    for day in (10, 20, 30):
        saldo("deposit", user_id, str(day), "--timestamp", f"2026-01-{day}T12:00:00Z")
    saldo("withdraw", user_id, "1")

    def amounts(*options: str) -> list[str]:
        return [each["amount"] for each in saldo("transactions", user_id, "--json", *options).lines]

    assert amounts() == ["1.00", "30.00", "20.00", "10.00"]
    assert amounts("--from", "2026-01-20", "--to", "2026-01-30") == ["20.00"]
    assert amounts("--type", "withdraw") == ["1.00"]
    assert amounts("--limit", "2") == ["1.00", "30.00"]
    table = saldo("transactions", user_id, "--limit", "1").output
    assert re.search(r"4 .* WITHDRAW +1\.00 +59\.00 +posted +[0-9a-f-]{36}", table)


def test_one_withdrawal_before_many_deposits_is_found(
    saldo: Program, shared_service: ServiceProcess
) -> None:
    user_id = saldo.user(f"searched {uuid4()}")
    kinds = ["DEPOSIT", "WITHDRAW", *["DEPOSIT"] * 40]
    items = [
        {"uuid": str(uuid4()), "type": kind, "amount": "1", "user_id": user_id} for kind in kinds
    ]
    answer = httpx.post(f"{shared_service.url}/v1/transactions", json=items)
    assert [each["status"] for each in answer.json()] == [200] * len(items)
    path = f"{shared_service.url}/v1/user/{user_id}/transactions?type=WITHDRAW&limit=2"
    assert httpx.get(path).json()["items"] == []  # the service's own page is empty
    options = ("transactions", user_id, "--type", "withdraw", "--limit", "1")
    assert [each["uuid"] for each in saldo(*options, "--json").lines] == [items[1]["uuid"]]
    assert items[1]["uuid"] in saldo(*options).output


def test_watch_ends_after_the_given_count(saldo: Program) -> None:
    user_id = saldo.user(f"watched {uuid4()}")
    saldo("deposit", user_id, "7")
    saldo("withdraw", user_id, "8", code=ExitCode.REFUSED)
    options = ("watch", "--from", "start", "--user", user_id)
    kinds = [each["type"] for each in saldo(*options, "--count", "3", "--json").lines]
    assert kinds == [
        "saldo.user.created",
        "saldo.transaction.posted",
        "saldo.transaction.refused",
    ]
    lines = saldo(*options, "--type", "posted", "--count", "1").output.splitlines()
    assert re.search(rf"{user_id} +1 deposit +7\.00 +7\.00", lines[1])


def test_ctrl_c_ends_watch(saldo: Program) -> None:
    user_id = saldo.user(f"interrupted {uuid4()}")
    saldo("deposit", user_id, "7")
    watching = saldo.start("watch", "--from", "start", "--user", user_id, "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["type"] == "saldo.user.created"
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert watching.returncode == ExitCode.INTERRUPTED
    assert errors.endswith("saldo: interrupted\n")


def test_narrow_terminal_omits_uuids(saldo: Program) -> None:
    user_id = saldo.user(f"narrow {uuid4()}")
    saldo("withdraw", user_id, "5", code=ExitCode.REFUSED)
    table = saldo("transactions", user_id, COLUMNS="80").output
    assert "uuid" not in table
    assert re.search(r"1 +20\S+ \S+Z +WITHDRAW +5\.00 +0\.00 +insufficient_funds", table)
