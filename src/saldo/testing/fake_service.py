"""The routes of the fake, on top of the executable specification of the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID, uuid4

import httpx

from saldo.encoding.json import encode_json
from saldo.ledger.instants import MICROSECOND, format_instant
from saldo.ledger.model import Decision, Entry, Kind, LedgerLimits, Outcome, TransactionRequest
from saldo.ledger.money import AMOUNT_MAX, format_money
from saldo.ledger.specification import SpecifiedLedger
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.transactions import (
    KIND_NAMES,
    ParserOptions,
    format_cursor,
    parse_cursor,
    parse_kind,
    parse_limit,
    parse_name,
    parse_query_instant,
    parse_range,
    parse_transaction,
    parse_transactions,
    parse_user_id,
    parse_user_name,
    parse_uuid,
)
from saldo.testing import problems
from saldo.testing.problems import FakeProblem, FakeProblemError

NAME_LENGTH_MAX: Final = 200
ARRAY_ITEMS_MAX: Final = 5000
PAGE_ITEMS_DEFAULT: Final = 100
PAGE_ITEMS_MAX: Final = 1000
"""Default settings of the service."""

UNSUPPORTED_PATHS: Final = (
    *("/v1/events", "/v1/proof", "/v1/seals", "/v1/webhook", "/v1/key"),
    *("/v1/transactions", "/metrics", "/openapi.json"),
)
"""Prefixes of paths that the fake does not support, although the service does. Of /v1/transactions, only the method GET
is not supported."""

_NDJSON: Final = "application/x-ndjson"
_LINE_MEMBERS: Final = ("balance", "needed", "differing_fields", "recorded", "errors")

Query = dict[str, str]
Handler = Callable[[httpx.Request, Query, datetime, str], httpx.Response]


class FakeService:
    """The fake's ledger, users and routes."""

    def __init__(self, decimals: int, limits: LedgerLimits) -> None:
        self._ledger = SpecifiedLedger(limits)
        self._options = ParserOptions(UTC, decimals, AMOUNT_MAX, NAME_LENGTH_MAX)
        self._users: dict[int, tuple[str, datetime]] = {}
        self._owners: dict[UUID, int] = {}
        paged = ("limit", "cursor")
        self._routes: list[tuple[str, str, tuple[str, ...], Handler]] = [
            ("POST", "/v1/user", (), self._create_user),
            ("GET", "/v1/user", ("name", *paged), self._list_users),
            ("GET", "/v1/user/([^/]+)", (), self._get_user),
            ("GET", "/v1/user/([^/]+)/balance", ("date", "before", "known_at"), self._get_balance),
            (
                *("GET", "/v1/user/([^/]+)/transactions"),
                ("from", "to", "type", "known_at", *paged),
                self._list_transactions,
            ),
            ("POST", "/v1/transaction", (), self._post_transaction),
            ("GET", "/v1/transaction/([^/]+)", ("user_id",), self._get_transaction),
            ("POST", "/v1/transactions", ("atomic",), self._post_transactions),
            ("GET", "/healthz/(live|ready|startup)", (), self._get_health),
        ]

    def respond(self, request: httpx.Request, now: datetime) -> httpx.Response:
        """Return the service's response to a request at a time."""
        try:
            return self._route(request, now)
        except InvalidRequestError as error:
            return _build_problem_response(problems.build_invalid_problem(error.faults))
        except FakeProblemError as error:
            return _build_problem_response(error.problem)

    def build_overloaded_response(self) -> httpx.Response:
        """Return the response of an overloaded service."""
        return _build_problem_response(
            FakeProblem("overloaded", "Nothing was recorded."), {"retry-after": "0"}
        )

    def _route(self, request: httpx.Request, now: datetime) -> httpx.Response:
        for method, pattern, names, handler in self._routes:
            match = re.fullmatch(pattern, request.url.path)
            if match is not None and method == request.method:
                query = _read_query(request.url.query, names)
                return handler(request, query, now, match[1] if match.groups() else "")
        if request.url.path.startswith(UNSUPPORTED_PATHS):
            raise FakeProblemError(FakeProblem("not_faked", "The fake does not have this."))
        raise FakeProblemError(FakeProblem("not_found", "There is nothing at this path."))

    # --- users --------------------------------------------------------------------------------

    def _create_user(
        self, request: httpx.Request, query: Query, now: datetime, _: str
    ) -> httpx.Response:
        _check_content_type(request)
        name = parse_name(request.content, self._options)
        for user_id, (taken, _created_at) in self._users.items():
            if taken == name:
                raise FakeProblemError(problems.build_name_taken(user_id))
        user_id, uuid = len(self._users) + 1, uuid4()
        entry = self._ledger.create_user(user_id, uuid, now)
        self._users[user_id] = name, entry.recorded_at
        self._owners[uuid] = user_id
        return _build_json_response(self._build_user(user_id), 201)

    def _list_users(
        self, request: httpx.Request, query: Query, now: datetime, _: str
    ) -> httpx.Response:
        limit = parse_limit(query.get("limit"), PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)
        name = query.get("name")
        wanted = None if name is None else parse_user_name(name, self._options)
        after = parse_cursor("users", query.get("cursor")) or 0
        found = [
            user_id
            for user_id, (name, _created_at) in self._users.items()
            if user_id > after and wanted in (None, name)
        ]
        following = format_cursor("users", found[limit - 1]) if len(found) > limit else None
        return _build_json_response(
            {"items": [self._build_user(each) for each in found[:limit]], "next_cursor": following}
        )

    def _get_user(
        self, request: httpx.Request, query: Query, now: datetime, user_id: str
    ) -> httpx.Response:
        return _build_json_response(self._build_user(self._find_user(user_id)))

    def _get_balance(
        self, request: httpx.Request, query: Query, now: datetime, user_id: str
    ) -> httpx.Response:
        number = parse_user_id(user_id)
        date, before, known_at = (
            parse_query_instant(name, query.get(name), self._options)
            for name in ("date", "before", "known_at")
        )
        if date is not None and before is not None:
            raise InvalidRequestError([InvalidField("before", "can't be combined with date")])
        _check_known_at(known_at, now)
        self._find_user(user_id)
        moment = date if before is None else before - MICROSECOND
        balance = self._ledger.get_balance(number, moment, known_at)
        return _build_json_response(
            {
                "user_id": number,
                "balance": self._format_money(balance),
                "date": date and format_instant(date),
                "before": before and format_instant(before),
                "known_at": known_at and format_instant(known_at),
            }
        )

    # --- transactions -------------------------------------------------------------------------

    def _list_transactions(
        self, request: httpx.Request, query: Query, now: datetime, user_id: str
    ) -> httpx.Response:
        number = parse_user_id(user_id)
        listing = f"transactions {number}"
        before = parse_cursor(listing, query.get("cursor"))
        since, until = parse_range(query.get("from"), query.get("to"), self._options)
        known_at = parse_query_instant("known_at", query.get("known_at"), self._options)
        kind = parse_kind(query.get("type"))
        limit = parse_limit(query.get("limit"), PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX)
        _check_known_at(known_at, now)
        self._find_user(user_id)
        found = [
            entry
            for entry in reversed(self._ledger.list_entries(number))
            if entry.timestamp is not None
            and (before is None or entry.number < before)
            and (since is None or entry.timestamp >= since)
            and (until is None or entry.timestamp < until)
            and kind in (None, entry.kind)
            and (known_at is None or entry.recorded_at <= known_at)
        ]
        more = len(found) > limit
        following = format_cursor(listing, found[limit - 1].number) if more else None
        items = [self._build_transaction(entry) for entry in found[:limit]]
        return _build_json_response({"items": items, "next_cursor": following})

    def _get_transaction(
        self, request: httpx.Request, query: Query, now: datetime, uuid: str
    ) -> httpx.Response:
        wanted = parse_uuid(uuid)
        of_user = query.get("user_id")
        owner = None if of_user is None else parse_user_id(of_user)
        for entry in (
            self._ledger.list_entries(self._owners[wanted]) if wanted in self._owners else ()
        ):
            if owner not in {None, entry.user_id}:
                break
            if entry.uuid == wanted and entry.kind is not Kind.OPENING:
                return _build_json_response(self._build_transaction(entry))
        raise FakeProblemError(
            FakeProblem("transaction_not_found", f"There is no transaction {wanted}.")
        )

    def _post_transaction(
        self, request: httpx.Request, query: Query, now: datetime, _: str
    ) -> httpx.Response:
        _check_content_type(request)
        key = request.headers.get("idempotency-key")
        wanted = parse_transaction(request.content, key, self._options)
        decision = self._decide(self._ledger, wanted, now)
        headers = {"idempotent-replayed": "true"} if decision.replayed else {}
        if decision.outcome is Outcome.POSTED:
            return _build_json_response(
                problems.format_recorded(wanted.uuid, decision, self._options.decimals),
                200,
                headers,
            )
        return _build_problem_response(
            problems.build_refusal_problem(wanted, decision, self._options.decimals), headers
        )

    def _post_transactions(
        self, request: httpx.Request, query: Query, now: datetime, _: str
    ) -> httpx.Response:
        items: list[tuple[int, TransactionRequest | InvalidRequestError]]
        if request.headers.get("content-type") == _NDJSON:
            lines = enumerate(request.content.splitlines(), start=1)
            items = [(number, self._parse_line(line)) for number, line in lines if line.strip()]
        else:
            _check_content_type(request)
            array = parse_transactions(request.content, ARRAY_ITEMS_MAX, self._options)
            items = list(enumerate(array, start=1))
        if query.get("atomic") == "true":
            self._try_atomic([item for _number, item in items], now)
        outcomes = [self._build_outcome_line(number, item, now) for number, item in items]
        if request.headers.get("content-type") != _NDJSON:
            return _build_json_response(outcomes, 200)
        content = b"".join(encode_json(outcome) + b"\n" for outcome in outcomes)
        return httpx.Response(200, content=content, headers={"content-type": _NDJSON})

    def _try_atomic(
        self, items: Sequence[TransactionRequest | InvalidRequestError], now: datetime
    ) -> None:
        """Check on a copy of the ledger that all items can be posted.

        Raises:
            InvalidRequestError, FakeProblemError: an item can't be posted.
        """
        faults = [
            InvalidField(f"[{index}].{fault.field}", fault.message)
            for index, item in enumerate(items)
            if isinstance(item, InvalidRequestError)
            for fault in item.faults
        ]
        if faults:
            raise InvalidRequestError(faults)
        ledger_copy = deepcopy(self._ledger)
        for index, item in enumerate(items):
            assert isinstance(item, TransactionRequest)
            (decision,) = ledger_copy.post([item], now)
            if decision.outcome is not Outcome.POSTED:
                problem = problems.build_refusal_problem(item, decision, self._options.decimals)
                members: dict[str, Any] = {"item": index, "uuid": str(item.uuid)}
                if "errors" in problem.members:
                    pairs = [
                        (f"[{index}].{e['field']}", e["message"]) for e in problem.members["errors"]
                    ]
                    members |= problems.build_errors_member(*pairs)
                raise FakeProblemError(problem._replace(members=members))

    def _parse_line(self, line: bytes) -> TransactionRequest | InvalidRequestError:
        try:
            return parse_transaction(line, None, self._options)
        except InvalidRequestError as error:
            return error

    def _build_outcome_line(
        self, number: int, item: TransactionRequest | InvalidRequestError, now: datetime
    ) -> dict[str, Any]:
        if isinstance(item, InvalidRequestError):
            uuid = item.uuid and str(item.uuid)
            return _build_problem_line(number, problems.build_invalid_problem(item.faults)) | {
                "uuid": uuid
            }
        decision = self._decide(self._ledger, item, now)
        decided = {"number": decision.number, "replayed": decision.replayed}
        if decision.outcome is Outcome.POSTED:
            balance = self._format_money(decision.balance or 0)
            posted = {"line": number, "status": 200, "code": "posted", "uuid": str(item.uuid)}
            return posted | {"balance": balance} | decided
        problem = problems.build_refusal_problem(item, decision, self._options.decimals)
        line = _build_problem_line(number, problem) | {"uuid": str(item.uuid)}
        return line | decided if decision.outcome.is_recorded else line

    def _decide(
        self, ledger: SpecifiedLedger, request: TransactionRequest, now: datetime
    ) -> Decision:
        (decision,) = ledger.post([request], now)
        if decision.outcome.is_recorded:
            self._owners[request.uuid] = request.user_id
        return decision

    # --- the rest -----------------------------------------------------------------------------

    def _get_health(
        self, request: httpx.Request, query: Query, now: datetime, _: str
    ) -> httpx.Response:
        return _build_json_response({"status": "ok"})

    def _find_user(self, text: str) -> int:
        number = parse_user_id(text)
        if number not in self._users:
            raise FakeProblemError(problems.build_user_not_found(number))
        return number

    def _build_user(self, user_id: int) -> dict[str, Any]:
        name, created_at = self._users[user_id]
        balance = self._format_money(self._ledger.get_balance(user_id, None))
        created = format_instant(created_at)
        return {"id": user_id, "name": name, "balance": balance, "created_at": created}

    def _build_transaction(self, entry: Entry) -> dict[str, Any]:
        assert entry.timestamp is not None
        return {
            "uuid": str(entry.uuid),
            "type": KIND_NAMES[entry.kind],
            "amount": self._format_money(abs(entry.amount)),
            "user_id": entry.user_id,
            "timestamp": format_instant(entry.timestamp),
            "outcome": entry.outcome.name.lower(),
            "balance": self._format_money(entry.balance),
            "number": entry.number,
            "recorded_at": format_instant(entry.recorded_at),
        }

    def _format_money(self, minor: int) -> str:
        return format_money(minor, self._options.decimals)


def _read_query(query: bytes, names: Iterable[str]) -> Query:
    pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True)
    given = dict(pairs)
    faults = [
        InvalidField(name, "is not a parameter of this request")
        for name in given
        if name not in names
    ]
    if len(given) < len(pairs):
        faults += [
            InvalidField(name, "is given twice")
            for name in given
            if [each for each, _ in pairs].count(name) > 1
        ]
    if faults:
        raise InvalidRequestError(faults)
    return given


def _check_content_type(request: httpx.Request) -> None:
    if request.headers.get("content-type") != "application/json":
        raise FakeProblemError(FakeProblem("unsupported_media_type", "Send application/json."))


def _check_known_at(known_at: datetime | None, now: datetime) -> None:
    if known_at is not None and known_at >= now:
        raise InvalidRequestError(
            [InvalidField("known_at", "must be in the past, because the result could still change")]
        )


def _build_json_response(
    value: object, status: int = 200, headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.Response(
        status,
        content=encode_json(value),
        headers={"content-type": "application/json"} | (headers or {}),
    )


def _build_problem_response(
    problem: FakeProblem, headers: dict[str, str] | None = None
) -> httpx.Response:
    body = {
        "type": f"urn:saldo:problem:{problem.code}",
        "title": problem.code.replace("_", " "),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    return httpx.Response(
        problem.status,
        content=encode_json(body | problem.members),
        headers={"content-type": "application/problem+json"} | (headers or {}),
    )


def _build_problem_line(number: int, problem: FakeProblem) -> dict[str, Any]:
    shown = {name: problem.members[name] for name in _LINE_MEMBERS if name in problem.members}
    head = {"line": number, "status": problem.status, "code": problem.code, "uuid": None}
    return head | shown | {"detail": problem.detail}
