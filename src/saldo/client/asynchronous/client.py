"""The client's face: a method for each call of the API. What is sent and read is in `saldo.client.calls`."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Any, Literal
from uuid import UUID

import httpx

from saldo.client import calls
from saldo.client.asynchronous.connection import AsyncConnection
from saldo.client.asynchronous.events import AsyncEvents
from saldo.client.asynchronous.pages import AsyncPages
from saldo.client.asynchronous.writer import BATCH_MAX, OUTSTANDING_MAX, AsyncWriter
from saldo.client.calls import UNSET, Unset
from saldo.client.errors import SaldoError
from saldo.client.following import Following
from saldo.client.models import (
    Amount,
    Balance,
    Delivery,
    EventType,
    Instant,
    Key,
    Posted,
    Proof,
    RelayedEventType,
    Scope,
    Seals,
    Transaction,
    TransactionLog,
    TransactionType,
    User,
    Webhook,
)
from saldo.client.network import authorization, checked_url
from saldo.client.requests import Deposit, Request, Withdrawal
from saldo.client.retry import Retries


class AsyncClient:
    """A Saldo service.

    Each call is repeated until it is decided or its time is up (`Retries`), as far as that is safe: a transaction
    under the uuid it was given at first, so that it is processed once. What a call can raise stands in
    `saldo.client.errors`.

    One client is for a whole program: it keeps connections open. After a fork each process has its own; a `transport`
    that is given is both's.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        key: str | None = None,
        retries: Retries | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """
        Args:
            url: where the service is.
            key: what `saldo keys create` has printed, or a token.
            verify: how the service's certificate is checked.
            transport: takes the requests in place of the network: for tests, see `saldo.testing`.

        Raises:
            TypeError, ValueError: the URL or the key is none.
        """
        url = checked_url(url)
        headers = {"user-agent": f"saldo-python/{version('saldo')}"}
        if key is not None:
            headers["authorization"] = authorization(key)
        # Made once: reading the certificates takes longer than a call.
        checked = verify if transport is not None else httpx.create_ssl_context(verify)

        def make(limits: httpx.Limits) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                base_url=url, headers=headers, verify=checked, transport=transport, limits=limits
            )

        self._connection = AsyncConnection(make, retries or Retries())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._connection.aclose()

    # --- users --------------------------------------------------------------------------------

    async def create_user(self, name: str) -> User:
        """Creates a user with a balance of zero.

        Raises:
            NameTakenError: there is a user of this name; after a lost answer perhaps the one that was to be made.
        """
        return await self._connection.ask(calls.create_user(name))

    async def user(self, user_id: int) -> User:
        """The user and the balance of now."""
        return await self._connection.ask(calls.user(user_id))

    def users(
        self, *, name: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> AsyncPages[User]:
        """Users by id.

        Args:
            name: only the one of this name.
            limit: how many a page. cursor: where to begin: a page's `next_cursor`.
        """
        return AsyncPages(self._connection, calls.users(name, limit), cursor)

    async def balance(
        self,
        user_id: int,
        *,
        date: Instant | None = None,
        before: Instant | None = None,
        known_at: Instant | None = None,
    ) -> Balance:
        """The balance: now, or with everything that took effect by a date, as known now or at a moment of the past.

        Args:
            date: inclusive. before: exclusive, in place of `date`.
        """
        return await self._connection.ask(calls.balance(user_id, date, before, known_at))

    # --- transactions -------------------------------------------------------------------------

    async def deposit(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Transaction:
        """Puts money in; see `post`."""
        return await self.post(Deposit(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def withdraw(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Transaction:
        """Takes money out; see `post`."""
        return await self.post(Withdrawal(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def post(self, request: Request) -> Transaction:
        """Posts a transaction, once, however often it is sent; the transaction as it is recorded.

        Args:
            request: its `uuid` stands for it: kept, it can be posted again after whatever has happened.

        Raises:
            InsufficientFundsError, BalanceAboveMaximumError: refused, and recorded so.
            UuidConflictError: the uuid stands for another transaction.
            OutcomeUnknownError: the time was up. Post it again with the same uuid: that decides.
        """
        return await self._connection.ask(calls.post(request))

    async def post_many(self, requests: Sequence[Request]) -> list[Posted | SaldoError]:
        """Posts some transactions in one request, each for itself; what became of each, in their order.

        For more than the service takes at once (5000, unless set otherwise), or than are at hand: `writer`.
        """
        return await self._connection.ask(calls.post_many(requests))

    async def post_atomic(self, requests: Sequence[Request]) -> list[Posted]:
        """Posts all of them or none.

        Raises:
            SaldoError: why not; `item` is the place of the first that can't be. Nothing was recorded.
        """
        return await self._connection.ask(calls.post_atomic(requests))

    def writer(
        self, *, batch_max: int = BATCH_MAX, outstanding_max: int = OUTSTANDING_MAX
    ) -> AsyncWriter:
        """For thousands a second: use it as a context.

        Args:
            batch_max: transactions of one request.
            outstanding_max: transactions that are not answered yet: with so many it takes the next one only when
                there is room.
        """
        return AsyncWriter(self._connection, batch_max=batch_max, outstanding_max=outstanding_max)

    async def transaction(self, uuid: UUID | str, *, user_id: int | None = None) -> Transaction:
        """The transaction under a uuid; a refused one, too, with its `outcome`.

        Args:
            user_id: only if it is this user's. Where the ledger is distributed it is found faster so.
        """
        return await self._connection.ask(calls.transaction(uuid, user_id))

    def transactions(
        self,
        user_id: int,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        type: TransactionType | None = None,  # noqa: A002 - the API's name
        known_at: Instant | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> AsyncPages[Transaction]:
        """A user's transactions, newest first by `number`, refused ones too.

        Args:
            since: the first timestamp (the API's `from`). until: the one after the last (the API's `to`).
            known_at: only what was recorded by this moment of the past: pages that are read later agree with it.
            limit: how many a page at most. cursor: where to begin: a page's `next_cursor`.
        """
        listing = calls.transactions(user_id, since, until, type, limit, known_at)
        return AsyncPages(self._connection, listing, cursor)

    async def transaction_log(
        self, shard: int, *, after: int | None = None, limit: int | None = None
    ) -> TransactionLog:
        """The log of one of the 64 shards, refused transactions too: to copy everything, and later what came since."""
        return await self._connection.ask(calls.transaction_log(shard, after, limit))

    # --- events -------------------------------------------------------------------------------

    def events(
        self,
        *,
        user_ids: Iterable[int] | None = None,
        types: Iterable[EventType] | None = None,
        start: Instant = "now",
        timeout_seconds: float | None = None,
    ) -> AsyncEvents:
        """Every event of the log, from any place of the past on, and then as they happen. It never ends by itself.

        Args:
            user_ids, types: only these; None: all.
            start: `now`, `start`, a time, or the `position` of an event: what came after it.
            timeout_seconds: without a connection for so long, it raises; None: it goes on trying.

        Raises:
            PositionGoneError: when iterated over: the log has no such place.
        """
        return AsyncEvents(self._connection, Following(user_ids, types, start, timeout_seconds))

    # --- proofs -------------------------------------------------------------------------------

    async def proof(self, uuid: UUID | str) -> Proof:
        """That a transaction is in the log; see `Proof.verify`. Waits until it is sealed: a second or so."""
        return await self._connection.ask(calls.proof(uuid))

    async def seals(
        self, *, shard: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Seals:
        """The newest seal of each shard; or, of one shard, those after a position, in their order."""
        return await self._connection.ask(calls.seals(shard, after, limit))

    # --- webhooks -----------------------------------------------------------------------------

    async def create_webhook(
        self,
        url: str,
        *,
        event_types: Iterable[RelayedEventType] | None = None,
        user_ids: Iterable[int] | None = None,
        secret: str | None = None,
    ) -> Webhook:
        """Subscribes a URL. Its `secret` is told this once.

        Raises:
            OutcomeUnknownError: there may be one now: look at `webhooks`. It is not repeated, as there would be two.
        """
        return await self._connection.ask(calls.create_webhook(url, event_types, user_ids, secret))

    async def webhook(self, webhook_id: int) -> Webhook:
        """A subscription, and how it does."""
        return await self._connection.ask(calls.webhook(webhook_id))

    def webhooks(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> AsyncPages[Webhook]:
        """All subscriptions by id."""
        return AsyncPages(self._connection, calls.webhooks(limit), cursor)

    async def change_webhook(
        self,
        webhook_id: int,
        *,
        url: str | Unset = UNSET,
        event_types: Iterable[RelayedEventType] | Unset | None = UNSET,
        user_ids: Iterable[int] | Unset | None = UNSET,
        secret: str | Unset = UNSET,
        enabled: bool | Unset = UNSET,
    ) -> Webhook:
        """Changes what is given."""
        changes = {
            "url": url,
            "event_types": event_types,
            "user_ids": user_ids,
            "secret": secret,
            "enabled": enabled,
        }
        return await self._connection.ask(calls.change_webhook(webhook_id, changes))

    async def delete_webhook(self, webhook_id: int) -> Webhook:
        """Deletes it with all that waits; what it was."""
        return await self._connection.ask(calls.delete_webhook(webhook_id))

    def deliveries(
        self,
        webhook_id: int,
        *,
        state: Literal["waiting", "dead"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> AsyncPages[Delivery]:
        """Events that wait or were given up."""
        return AsyncPages(self._connection, calls.deliveries(webhook_id, state, limit), cursor)

    async def replay_deliveries(self, webhook_id: int, *, event_id: str | None = None) -> int:
        """Tries dead events again, all or one; how many."""
        return await self._connection.ask(calls.replay_deliveries(webhook_id, event_id))

    # --- keys ---------------------------------------------------------------------------------

    async def create_key(
        self,
        name: str,
        *,
        scopes: Iterable[Scope],
        user_ids: Iterable[int] | None = None,
        networks: Iterable[str] | None = None,
        expires_at: Instant | None = None,
    ) -> Key:
        """Makes a key; its `key` is told this once. Not repeated, as `create_webhook`."""
        return await self._connection.ask(
            calls.create_key(name, scopes, user_ids, networks, expires_at)
        )

    async def key(self, key_id: int) -> Key:
        """What a key opens, for whom, and until when."""
        return await self._connection.ask(calls.key(key_id))

    def keys(self, *, limit: int | None = None, cursor: str | None = None) -> AsyncPages[Key]:
        """All keys by id, revoked and expired ones too."""
        return AsyncPages(self._connection, calls.keys(limit), cursor)

    async def revoke_key(self, key_id: int) -> Key:
        """Lets nobody in with it any more."""
        return await self._connection.ask(calls.revoke_key(key_id))

    async def rotate_key(self, key_id: int, *, overlap_seconds: int | None = None) -> Key:
        """Makes a key of the same rights; the old one stays valid for the overlap. Not repeated."""
        return await self._connection.ask(calls.rotate_key(key_id, overlap_seconds))

    # --- operation ----------------------------------------------------------------------------

    async def health(self, what: Literal["live", "ready", "startup"] = "ready") -> str:
        """`ok`, `draining` or `unavailable`."""
        return await self._connection.ask(calls.health(what))

    async def metrics(self) -> str:
        """In Prometheus' text format."""
        return await self._connection.ask(calls.metrics())

    async def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return await self._connection.ask(calls.openapi())
