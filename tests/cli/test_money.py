"""Users and their money, by hand: deposit, withdraw, balance, transactions, watch, user."""

from __future__ import annotations

import json
import re
import signal
from uuid import uuid4

import pytest

from saldo.cli.exits import Exit
from tests.cli.program import Program


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


def test_a_list_says_that_there_are_more(saldo: Program) -> None:
    for _ in range(2):
        saldo.user(f"one of many {uuid4()}")
    assert len(saldo("user", "list", "--limit", "1", "--json").lines) == 1
    assert len(saldo("user", "list", "--json").lines) >= 2


def test_a_taken_name_is_told_with_the_user_who_has_it(saldo: Program) -> None:
    name = f"taken {uuid4()}"
    user_id = saldo.user(name)
    ended = saldo("user", "create", name, code=Exit.REFUSED)
    assert f"the name is taken by user {user_id}" in ended.errors
    assert ended.output == ""


def test_money_goes_in_and_out(saldo: Program) -> None:
    user_id = saldo.user(f"money {uuid4()}")
    ended = saldo("deposit", user_id, "1100.50")
    assert re.match(r"deposited 1,100\.50, balance 1,100\.50, uuid [0-9a-f-]{36}\n", ended.output)
    found = saldo("withdraw", user_id, "100.25", "--json").json
    assert (found["type"], found["amount"], found["balance"]) == ("WITHDRAW", "100.25", "1000.25")
    assert found["outcome"] == "posted"
    assert saldo("balance", user_id).output == "1,000.25\n"


def test_a_withdrawal_that_is_not_covered_is_refused(saldo: Program) -> None:
    user_id = saldo.user(f"poor {uuid4()}")
    ended = saldo("withdraw", user_id, "1", code=Exit.REFUSED)
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
    ended = saldo("deposit", user_id, "6", "--uuid", uuid, code=Exit.REFUSED)
    assert "uuid" in ended.errors


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (("deposit", "1", "--", "-5"), "amount", Exit.USAGE),
        (("deposit", "1", "0.001"), "amount", Exit.USAGE),
        (("deposit", "1", "1e3"), "amount", Exit.USAGE),
        (("deposit", "1", "5", "--timestamp", "2199-01-01"), "timestamp", Exit.USAGE),
        (
            ("statement", "1", "--month", "2026-01", "--known-at", "2199-01-01"),
            "known_at",
            Exit.USAGE,
        ),
        (("user", "create", ""), "name", Exit.USAGE),
        (("deposit", "999999999", "5"), "999999999", Exit.REFUSED),
        (("balance", "999999999"), "999999999", Exit.REFUSED),
        (("transactions", "999999999"), "999999999", Exit.REFUSED),
        (("watch", "--user", "999999999"), "999999999", Exit.REFUSED),
        (("user", "show", "999999999"), "999999999", Exit.REFUSED),
    ],
)
def test_what_the_service_refuses_is_one_line_that_names_it(
    saldo: Program, arguments: tuple[str, ...], named: str, code: Exit
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
        (("deposit", "1", "-5"), "-5: neither an amount"),
        (("withdraw", "1", "-.5", "--json"), "-.5: neither an amount"),
        (("watch", "--from", "x"), "--from"),
        (("watch", "--type", "x"), "--type"),
        (("nothing",), "nothing"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_asked(
    arguments: tuple[str, ...], named: str
) -> None:
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    ended = nobody(*arguments, code=Exit.USAGE)
    assert named in ended.errors
    assert ended.output == ""


def test_the_balance_of_the_past(saldo: Program) -> None:
    user_id = saldo.user(f"past {uuid4()}")
    saldo("deposit", user_id, "10", "--timestamp", "2026-01-10T12:00:00Z")
    saldo("deposit", user_id, "5", "--timestamp", "2026-01-20T12:00:00Z")
    assert saldo("balance", user_id, "--date", "2026-01-15").output == "10.00\n"
    assert saldo("balance", user_id, "--date", "2026-01-01").output == "0.00\n"
    # In the zone of the settings: noon in UTC is the day after at Kiritimati.
    found = saldo("balance", user_id, "--date", "2026-01-20", SALDO_ZONE="Pacific/Kiritimati")
    assert found.output == "10.00\n"


def test_the_balance_is_drawn(saldo: Program) -> None:
    user_id = saldo.user(f"drawn {uuid4()}")
    saldo("deposit", user_id, "80")
    drawn = saldo("balance", user_id, "--plot").output
    assert "80.00 ┤" in drawn
    assert "40.00 ┤" in drawn
    assert "█" in drawn


def test_transactions_are_chosen_by_time_and_type(saldo: Program) -> None:
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
    assert re.search(r"4 .* WITHDRAW +-1\.00 +59\.00 +posted +[0-9a-f-]{36}", table)


def test_events_are_watched_until_so_many(saldo: Program) -> None:
    user_id = saldo.user(f"watched {uuid4()}")
    saldo("deposit", user_id, "7")
    saldo("withdraw", user_id, "8", code=Exit.REFUSED)
    options = ("watch", "--from", "start", "--user", user_id)
    kinds = [each["type"] for each in saldo(*options, "--count", "3", "--json").lines]
    assert kinds == [
        "saldo.user.created",
        "saldo.transaction.posted",
        "saldo.transaction.refused",
    ]
    lines = saldo(*options, "--type", "posted", "--count", "1").output.splitlines()
    assert re.search(rf"{user_id} +1 deposit +7\.00 +7\.00", lines[1])


def test_ctrl_c_ends_watching(saldo: Program) -> None:
    user_id = saldo.user(f"interrupted {uuid4()}")
    saldo("deposit", user_id, "7")
    watching = saldo.start("watch", "--from", "start", "--user", user_id, "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["type"] == "saldo.user.created"
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert watching.returncode == Exit.INTERRUPTED
    assert errors.endswith("saldo: interrupted\n")


def test_a_narrow_terminal_has_no_room_for_uuids(saldo: Program) -> None:
    user_id = saldo.user(f"narrow {uuid4()}")
    saldo("withdraw", user_id, "5", code=Exit.REFUSED)
    table = saldo("transactions", user_id, COLUMNS="80").output
    assert "uuid" not in table
    assert re.search(r"1 +20\S+ \S+Z +WITHDRAW +-5\.00 +0\.00 +insufficient_funds", table)
