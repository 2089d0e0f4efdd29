"""Each kind of fault, made by hand: one change to a valid history, and exactly that fault is found."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from tests.torture.histories import OPENING, USER, A, B, C, D, E, History, right, transaction
from torture.checker import FindingKind, check
from torture.history import Account, Evidence, ListTransactions, Post, ReadBalance, ReadTransaction

Change = Callable[[History], None]
TABLE: list[tuple[FindingKind, Change]] = []
HARMLESS: list[Change] = []


def wrong(kind: FindingKind) -> Callable[[Change], Change]:
    """Register a change that makes exactly this fault."""

    def add(change: Change) -> Change:
        TABLE.append((kind, change))
        return change

    return add


def harmless(change: Change) -> Change:
    """Register a change that leaves the history valid."""
    HARMLESS.append(change)
    return change


def test_valid_history_has_no_fault() -> None:
    assert check(right().evidence()).faults == []


def deposit(
    number: int, amount: str, balance: str, *, uuid: str = E, outcome: str = "posted"
) -> dict[str, Any]:
    """Return one more transaction; if it has the uuid of the first one, it also has its time."""
    time = "12:00:00" if uuid == A else "12:40:00"
    return transaction(
        number,
        "DEPOSIT",
        amount,
        balance,
        uuid=uuid,
        user_id=USER,
        time=time,
        outcome=outcome,
    )


# Changes of transactions and outcomes.


@wrong(FindingKind.LOST)
def acknowledged_and_not_there(history: History) -> None:
    history.post(20, 21, deposit(5, "1.00", "76.00"))


@wrong(FindingKind.LOST)
def read_and_not_there(history: History) -> None:
    history.ask(20, ReadTransaction(E, USER), 200, **deposit(5, "1.00", "76.00"))


@wrong(FindingKind.LOST)
def listed_and_not_there(history: History) -> None:
    items = [deposit(5, "1.00", "76.00")]
    history.ask(20, ListTransactions(USER, 1), 200, items=items, next_cursor="more")


@wrong(FindingKind.LOST)
def the_user_is_gone(history: History) -> None:
    history.ask(20, ReadBalance(8), 200, user_id=8, balance="0.00", date=None)


@wrong(FindingKind.DOUBLED)
def there_twice(history: History) -> None:
    history.consumers = ()
    history.log.append(deposit(5, "100.00", "175.00", uuid=A))
    history.balance = "175.00"


@wrong(FindingKind.CHANGED_OUTCOME)
def answered_posted_and_refused_there(history: History) -> None:
    posted = {**history.log[2], "outcome": "posted"}
    history.answer(C, status=200, body=posted)


@wrong(FindingKind.CHANGED_OUTCOME)
def answered_refused_and_posted_there(history: History) -> None:
    refused = {**history.log[1], "outcome": "insufficient_funds"}
    body = {"code": "insufficient_funds", "balance": "70.00", "transaction": refused}
    history.answer(B, status=402, body=body)


@wrong(FindingKind.CHANGED_TRANSACTION)
def another_balance_was_answered(history: History) -> None:
    history.answer(B, body={**history.log[1], "balance": "71.00"})


@wrong(FindingKind.CHANGED_TRANSACTION)
def another_number_was_answered(history: History) -> None:
    history.answer(B, body={"line": 1, "code": "posted", "balance": "70.00", "number": 3})


@wrong(FindingKind.CHANGED_TRANSACTION)
def another_moment_was_read(history: History) -> None:
    moment = "2023-10-30T12:20:00.000001+00:00"
    history.ask(20, ReadTransaction(C, USER), 200, **{**history.log[2], "timestamp": moment})


@wrong(FindingKind.CHANGED_TRANSACTION)
def nobody_asked_for_the_amount(history: History) -> None:
    call = Post(B, USER, "WITHDRAW", "31", history.log[1]["timestamp"])
    history.answer(B, call=call, answered=None, status=None, body=None)


@wrong(FindingKind.CHANGED_TRANSACTION)
def other_content_was_acknowledged(history: History) -> None:
    history.post(20, 21, history.log[1], replayed=True)
    call = Post(B, USER, "WITHDRAW", "31", history.log[1]["timestamp"])
    history.operations[-1] = msgspec.structs.replace(history.operations[-1], call=call)


@wrong(FindingKind.CHANGED_TRANSACTION)
def another_timestamp_was_acknowledged(history: History) -> None:
    history.post(20, 21, history.log[1], replayed=True)
    call = Post(B, USER, "WITHDRAW", "30", "2023-10-30T12:10:00.000001Z")
    history.operations[-1] = msgspec.structs.replace(history.operations[-1], call=call)


@wrong(FindingKind.ANSWERS_DIFFER)
def a_replay_has_another_detail(history: History) -> None:
    history.post(20, 21, history.log[2], replayed=True, detail="The balance was 70.00.")


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def refused_with_money_there(history: History) -> None:
    refused = transaction(5, "WITHDRAW", "75.00", "75.00", uuid=E, user_id=USER, time="12:40:00")
    refused["outcome"] = "insufficient_funds"
    history.record(refused)
    history.post(20, 21, refused)


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def a_deposit_refused_for_want_of_money(history: History) -> None:
    refused = deposit(5, "500.00", "75.00", outcome="insufficient_funds")
    history.record(refused)
    history.post(20, 21, refused)


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def above_a_maximum_that_was_allowed(history: History) -> None:
    refused = deposit(5, "25.00", "75.00", outcome="balance_above_maximum")
    history.record(refused)
    history.post(20, 21, refused)


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def a_withdrawal_above_the_maximum(history: History) -> None:
    refused = deposit(5, "50.00", "75.00", outcome="balance_above_maximum") | {"type": "WITHDRAW"}
    history.record(refused)
    history.post(20, 21, refused)


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def a_conflict_with_the_same(history: History) -> None:
    call = Post(A, USER, "DEPOSIT", "100", history.log[0]["timestamp"])
    history.ask(20, call, 409, code="uuid_conflict")


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def a_conflict_with_nothing(history: History) -> None:
    history.ask(20, Post(E, USER, "DEPOSIT", "1"), 409, code="uuid_conflict")


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def the_user_is_not_found_any_more(history: History) -> None:
    history.ask(20, ReadBalance(USER), 404, code="user_not_found")


@wrong(FindingKind.UNEXPLAINED_OUTCOME)
def the_user_is_not_found_after_whoever_was_first(history: History) -> None:
    history.ask(-3, ReadBalance(USER), 200, user_id=USER, balance="0.00", date=None)
    history.ask(-1, ReadBalance(USER), 404, code="user_not_found")


@wrong(FindingKind.TRANSACTION_OF_NOTHING)
def nobody_sent_it(history: History) -> None:
    history.drop(B)


@wrong(FindingKind.TRANSACTION_OF_NOTHING)
def replays_only(history: History) -> None:
    history.answer(B, replayed=True)


@wrong(FindingKind.TRANSACTION_OF_NOTHING)
def replays_only_says_the_line(history: History) -> None:
    body = {"line": 1, "code": "posted", "balance": "70.00", "number": 2, "replayed": True}
    history.answer(B, body=body)


@wrong(FindingKind.TRANSACTION_OF_NOTHING)
def there_and_not_accepted(history: History) -> None:
    history.answer(B, status=429, body={"code": "too_many_requests"})


# Changes of order and time.


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_balance_from_before_an_acknowledged_one(history: History) -> None:
    history.ask(3.1, ReadBalance(USER), 200, user_id=USER, balance="100.00", date=None)


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_balance_that_never_was(history: History) -> None:
    history.ask(7, ReadBalance(USER), 200, user_id=USER, balance="72.00", date=None)


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_balance_at_a_date_exclusive(history: History) -> None:
    date = history.log[1]["timestamp"]
    history.ask(20, ReadBalance(USER, date), 200, user_id=USER, balance="100.00", date=date)


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_balance_goes_back(history: History) -> None:
    """Read the balance twice while the deposit is in progress: either balance is valid, but not the later one first."""
    history.ask(6.1, ReadBalance(USER), 200, user_id=USER, balance="75.00", date=None)
    history.ask(7.1, ReadBalance(USER), 200, user_id=USER, balance="70.00", date=None)


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_list_without_an_acknowledged_one(history: History) -> None:
    items = deepcopy(history.log[:1])
    history.ask(3.1, ListTransactions(USER, 5), 200, items=items, next_cursor=None)


@wrong(FindingKind.NOT_LINEARIZABLE)
def an_acknowledged_one_is_not_found(history: History) -> None:
    history.ask(3.1, ReadTransaction(B, USER), 404, code="transaction_not_found")


@wrong(FindingKind.NOT_LINEARIZABLE)
def an_unknown_one_was_found_and_then_not(history: History) -> None:
    history.ask(6.1, ReadTransaction(D, USER), 200, **history.log[3])
    history.ask(7.1, ReadTransaction(D, USER), 404, code="transaction_not_found")


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_retry_is_refused_as_if_it_were_new(history: History) -> None:
    call = Post(A, USER, "DEPOSIT", "100", history.log[0]["timestamp"])
    history.ask(20, call, 422, code="timestamp_too_late")


@wrong(FindingKind.NOT_LINEARIZABLE)
def numbers_against_time(history: History) -> None:
    history.answer(B, invoked=5.1, answered=5.2)


@wrong(FindingKind.NOT_LINEARIZABLE)
def there_before_it_was_sent(history: History) -> None:
    history.ask(5.2, ReadTransaction(D, USER), 200, **history.log[3])


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_replay_before_what_it_repeats(history: History) -> None:
    history.post(5.1, 5.2, history.log[3], replayed=True)


@wrong(FindingKind.NOT_LINEARIZABLE)
def a_conflict_with_what_comes_later(history: History) -> None:
    history.ask(5.1, Post(D, USER, "DEPOSIT", "6"), 409, code="uuid_conflict")


# Changes of the log by itself.


@wrong(FindingKind.GAP_IN_NUMBERS)
def a_number_left_out(history: History) -> None:
    history.operations.pop()  # The list's numbers would not be consecutive.
    history.rewrite(D, number=5)


@wrong(FindingKind.WRONG_BALANCE)
def a_final_balance_that_is_no_sum(history: History) -> None:
    history.balance = "74.00"


@wrong(FindingKind.WRONG_BALANCE)
def a_balance_after_that_is_no_sum(history: History) -> None:
    history.rewrite(C, balance="69.00")
    for operation in history.operations:
        if operation.status == 402:
            assert isinstance(operation.body, dict)
            operation.body["balance"] = "69.00"


@wrong(FindingKind.NEGATIVE_BALANCE)
def a_late_withdrawal_of_what_was_not_there_then(history: History) -> None:
    late = transaction(5, "WITHDRAW", "72.00", "3.00", uuid=E, user_id=USER, time="12:15:00")
    history.record(late)
    history.post(20, 21, late)


@wrong(FindingKind.NEGATIVE_BALANCE)
def a_negative_balance_is_answered(history: History) -> None:
    history.ask(20, ReadBalance(USER), 200, user_id=USER, balance="-1.00", date=None)


@wrong(FindingKind.NEGATIVE_BALANCE)
def a_negative_balance_is_acknowledged(history: History) -> None:
    history.answer(B, body={**history.log[1], "balance": "-70.00"})


@wrong(FindingKind.NEGATIVE_BALANCE)
def a_negative_balance_is_told(history: History) -> None:
    history.events[2]["data"]["balance"] = "-70.00"


@wrong(FindingKind.RECORDED_EARLIER)
def recorded_before_the_one_before(history: History) -> None:
    history.rewrite(D, recorded_at="2023-10-30T14:03:00+00:00")


# Changes of events.


@wrong(FindingKind.EVENT_MISSING)
def a_transaction_is_not_told(history: History) -> None:
    del history.events[2]


@wrong(FindingKind.EVENT_MISSING)
def the_last_transaction_is_not_told(history: History) -> None:
    del history.events[4]


@wrong(FindingKind.EVENT_MISSING)
def the_creation_is_not_told(history: History) -> None:
    del history.events[0]


@wrong(FindingKind.EVENT_OUT_OF_ORDER)
def told_after_the_next(history: History) -> None:
    history.events[2:4] = [history.events[3], history.events[2]]


@wrong(FindingKind.EVENT_OUT_OF_ORDER)
def the_creation_is_told_last(history: History) -> None:
    history.events.append(history.events.pop(0))


@wrong(FindingKind.EVENT_REPEATED_DIFFERENTLY)
def told_again_and_otherwise(history: History) -> None:
    again = deepcopy(history.events[1])
    again["data"]["seq"] = 77
    history.events.append(again)


@wrong(FindingKind.EVENT_DIFFERS)
def another_amount_is_told(history: History) -> None:
    history.events[2]["data"]["amount"] = "30.01"


@wrong(FindingKind.EVENT_DIFFERS)
def a_refusal_is_told_as_posted(history: History) -> None:
    history.events[3]["type"] = "saldo.transaction.posted"


@wrong(FindingKind.EVENT_DIFFERS)
def told_of_another_subject(history: History) -> None:
    history.events[2]["subject"] = "8"


@wrong(FindingKind.EVENT_DIFFERS)
def a_user_begins_with_money(history: History) -> None:
    history.events[0]["data"]["balance"] = "1.00"


@wrong(FindingKind.EVENT_DIFFERS)
def another_time_of_creation_in_the_envelope(history: History) -> None:
    # The entry was recorded before the user was created.
    history.events[0]["time"] = "2023-10-30T10:59:59+00:00"


@wrong(FindingKind.EVENT_DIFFERS)
def another_time_in_the_envelope(history: History) -> None:
    history.events[2]["time"] = "2023-10-30T11:00:01+00:00"


@wrong(FindingKind.EVENT_OF_NOTHING)
def a_transaction_is_told_that_is_not_there(history: History) -> None:
    event = deepcopy(history.events[1])
    event["id"] = event["data"]["uuid"] = E
    history.events.append(event)


@wrong(FindingKind.EVENT_OF_NOTHING)
def a_user_is_created_twice(history: History) -> None:
    history.events.append({**history.events[0], "id": E})


# Changes that make something unreadable.


@wrong(FindingKind.MALFORMED)
def money_is_a_float(history: History) -> None:
    history.ask(20, ReadBalance(USER), 200, user_id=USER, balance=75.0, date=None)


@wrong(FindingKind.MALFORMED)
def money_is_no_number(history: History) -> None:
    history.ask(20, ReadBalance(USER), 200, user_id=USER, balance="NaN", date=None)


@wrong(FindingKind.MALFORMED)
def a_moment_without_an_offset(history: History) -> None:
    moment = "2023-10-30T12:20:00"
    history.ask(20, ReadTransaction(C, USER), 200, **{**history.log[2], "timestamp": moment})


@wrong(FindingKind.MALFORMED)
def an_outcome_that_is_never_recorded(history: History) -> None:
    outcome = "user_not_found"
    history.ask(20, ReadTransaction(C, USER), 200, **{**history.log[2], "outcome": outcome})


@wrong(FindingKind.MALFORMED)
def an_acknowledgement_says_nothing(history: History) -> None:
    history.ask(20, Post(E, USER, "DEPOSIT", "1"), 200)


@wrong(FindingKind.MALFORMED)
def a_problem_with_the_balance_of_another(history: History) -> None:
    history.post(20, 21, history.log[2], replayed=True, balance="71.00")


@wrong(FindingKind.MALFORMED)
def answered_before_it_was_invoked(history: History) -> None:
    history.ask(20, ReadBalance(USER), 200, user_id=USER, balance="75.00", date=None)
    history.operations[-1] = msgspec.structs.replace(history.operations[-1], answered=19)


@wrong(FindingKind.MALFORMED)
def a_status_that_is_none(history: History) -> None:
    history.ask(20, Post(E, USER, "DEPOSIT", "1"), 202)


@wrong(FindingKind.MALFORMED)
def the_balance_of_somebody_else(history: History) -> None:
    history.ask(20, ReadBalance(USER), 200, user_id=8, balance="75.00", date=None)


@wrong(FindingKind.MALFORMED)
def the_balance_of_another_moment(history: History) -> None:
    asked, said = "2023-10-30T12:00:00+00:00", "2023-10-30T12:00:01+00:00"
    history.ask(20, ReadBalance(USER, asked), 200, user_id=USER, balance="100.00", date=said)


@wrong(FindingKind.MALFORMED)
def another_transaction_than_was_asked_for(history: History) -> None:
    history.ask(20, ReadTransaction(A, USER), 200, **history.log[1])


@wrong(FindingKind.MALFORMED)
def a_list_with_a_hole(history: History) -> None:
    items = deepcopy([history.log[3], history.log[1]])
    history.ask(20, ListTransactions(USER, 2), 200, items=items, next_cursor="more")


@wrong(FindingKind.MALFORMED)
def a_list_of_more_than_was_asked_for(history: History) -> None:
    items = deepcopy([history.log[3], history.log[2]])
    history.ask(20, ListTransactions(USER, 1), 200, items=items, next_cursor="more")


@wrong(FindingKind.MALFORMED)
def a_list_that_ends_early(history: History) -> None:
    items = deepcopy([history.log[3]])
    history.ask(20, ListTransactions(USER, 2), 200, items=items, next_cursor=None)


@wrong(FindingKind.MALFORMED)
def an_event_without_a_number(history: History) -> None:
    history.consumers = ()
    del history.events[2]["data"]["number"]


# Changes that are allowed.


@harmless
def unknown_and_never_there(history: History) -> None:
    history.post(20, None, deposit(5, "1.00", "76.00"))


@harmless
def unknown_by_a_503_and_there(history: History) -> None:
    history.answer(B, status=503, body={"code": "outcome_unknown"})


@harmless
def it_takes_effect_long_after_it_was_given_up(history: History) -> None:
    history.ask(6.1, ReadBalance(USER), 200, user_id=USER, balance="70.00", date=None)
    history.ask(7.1, ReadTransaction(D, USER), 404, code="transaction_not_found")


@harmless
def a_retry_that_is_not_marked(history: History) -> None:
    history.post(20, 21, history.log[1])


@harmless
def a_retry_in_a_bulk_without_a_timestamp(history: History) -> None:
    body = {"code": "posted", "uuid": B, "balance": "70.00", "number": 2, "replayed": True}
    history.ask(20, Post(B, USER, "WITHDRAW", "30.0"), 200, line=4, **body)


@harmless
def nothing_accepted_and_then_sent_again(history: History) -> None:
    call = Post(B, USER, "WITHDRAW", "30", history.log[1]["timestamp"])
    history.ask(1.2, call, 429, code="too_many_requests")
    history.ask(1.8, call, 422, code="timestamp_in_future")


@harmless
def a_conflict_after_the_other(history: History) -> None:
    history.ask(20, Post(B, USER, "WITHDRAW", "31"), 409, code="uuid_conflict")
    history.ask(21, Post(B, USER, "WITHDRAW", "not money"), 422, code="invalid")


@harmless
def either_balance_while_it_is_posted(history: History) -> None:
    history.ask(2.2, ReadBalance(USER), 200, user_id=USER, balance="100.00", date=None)
    history.ask(2.2, ReadBalance(USER), 200, user_id=USER, balance="70.00", date=None)


@harmless
def a_refusal_for_want_of_money_later_on(history: History) -> None:
    late = transaction(5, "WITHDRAW", "71.00", "75.00", uuid=E, user_id=USER, time="12:05:00")
    late["outcome"] = "insufficient_funds"
    history.record(late)
    history.post(20, 21, late)


@harmless
def refused_above_every_balance_there_was(history: History) -> None:
    refused = deposit(5, "25.01", "75.00", outcome="balance_above_maximum")
    history.record(refused)
    history.post(20, 21, refused)


@harmless
def not_found_before_anybody_was(history: History) -> None:
    history.ask(-5, ReadBalance(USER), 404, code="user_not_found")


@harmless
def a_short_page_with_more_to_come(history: History) -> None:
    items = deepcopy([history.log[3]])
    history.ask(20, ListTransactions(USER, 3), 200, items=items, next_cursor="more")


@harmless
def events_come_again_after_others(history: History) -> None:
    history.events += deepcopy(history.events[:3])


@harmless
def an_event_of_something_else(history: History) -> None:
    history.events.insert(
        0, {"id": E, "type": "saldo.webhook.disabled", "subject": "webhook-1", "data": {}}
    )


@harmless
def who_need_not_hear_all_begins_late(history: History) -> None:
    history.consumers = ()
    del history.events[:2]


@harmless
def a_moment_in_another_zone(history: History) -> None:
    """Write a time with another offset; times are compared and not their texts."""
    history.operations.pop()
    history.answer(B, body={**history.log[1], "timestamp": "2023-10-30T15:10:00+03:00"})


@pytest.mark.parametrize(
    ("kind", "change"), TABLE, ids=lambda value: getattr(value, "__name__", None)
)
def test_one_change_makes_exactly_one_fault(kind: FindingKind, change: Change) -> None:
    history = right()
    change(history)

    faults = check(history.evidence()).faults

    assert [fault.kind for fault in faults] == [kind], [*map(str, faults)]


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.__name__)
def test_allowed_change_is_not_a_fault(change: Change) -> None:
    history = right()
    change(history)

    assert check(history.evidence()).faults == []


def test_every_kind_of_fault_has_a_row() -> None:
    assert {kind for kind, _ in TABLE} == {*FindingKind}


def test_fault_message_names_the_operations() -> None:
    history = right()
    history.drop(B)

    [fault] = check(history.evidence()).faults

    assert fault.user_id == USER
    assert "number 2" in fault.message
    assert B in fault.message


def test_uuid_of_two_users_is_a_double() -> None:
    history = right()
    evidence = history.evidence()
    other = Account(8, "100.00", ({**history.log[0], "user_id": 8},))

    faults = check(Evidence(evidence.operations, [*evidence.accounts, other], [], ())).faults

    assert FindingKind.DOUBLED in {fault.kind for fault in faults}


def test_list_with_another_users_transaction_is_a_fault() -> None:
    history = right()
    theirs = deposit(1, "1.00", "1.00") | {"user_id": 8}
    history.ask(20, ListTransactions(USER, 1), 200, items=[theirs], next_cursor="more")
    call = Post(E, 8, "DEPOSIT", "1", theirs["timestamp"])
    history.operations.append(
        msgspec.structs.replace(history.operations[0], call=call, body=theirs)
    )
    evidence = history.evidence()
    accounts = [*evidence.accounts, Account(8, "1.00", (theirs,))]

    faults = check(Evidence(evidence.operations, accounts, [], ())).faults

    assert [(fault.kind, fault.user_id) for fault in faults] == [(FindingKind.MALFORMED, USER)]


def test_user_read_twice_in_the_final_read_is_a_fault() -> None:
    evidence = right().evidence()
    twice = Evidence(evidence.operations, evidence.accounts * 2, evidence.deliveries, ("queue",))

    assert [fault.kind for fault in check(twice).faults] == [FindingKind.MALFORMED]


def test_malformed_final_read_is_a_fault() -> None:
    history = right()
    history.log[0]["amount"] = "much"

    faults = check(history.evidence()).faults

    assert FindingKind.MALFORMED in {fault.kind for fault in faults}


def test_consumers_must_agree_on_the_creation_of_a_user() -> None:
    evidence = right().evidence()
    others = [
        msgspec.structs.replace(
            delivery,
            consumer="stream",
            event={
                **delivery.event,
                "id": E if delivery.event["id"] == OPENING else delivery.event["id"],
            },
        )
        for delivery in evidence.deliveries
    ]
    both = Evidence(
        evidence.operations,
        evidence.accounts,
        [*evidence.deliveries, *others],
        ("queue", "stream"),
    )

    kinds = {fault.kind for fault in check(both).faults}

    assert kinds == {FindingKind.EVENT_OF_NOTHING, FindingKind.EVENT_MISSING}
