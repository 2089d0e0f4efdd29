"""The public class of the client, with a method for each operation that `saldo.client.endpoints` describes."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Literal
from uuid import UUID

import httpx

from saldo.client import endpoints
from saldo.client.asynchronous.connection import AsyncConnection
from saldo.client.asynchronous.events import AsyncEvents
from saldo.client.asynchronous.pagination import AsyncPages
from saldo.client.asynchronous.writer import BATCH_MAX, OUTSTANDING_MAX, AsyncWriter
from saldo.client.connection_options import (
    check_url,
    create_tls_context,
    explain_proxy_errors,
    find_proxy_variable,
    format_authorization,
    is_direct,
)
from saldo.client.endpoints import UNSET, Unset
from saldo.client.errors import SaldoError
from saldo.client.event_stream import EventStreamState
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
from saldo.client.payloads import Deposit, TransactionRequest, Withdrawal
from saldo.client.retry import Retries
from saldo.version import VERSION


class AsyncClient:
    """A client of a Saldo service.

    Each call is retried, as far as that is safe, until it has a result or its timeout (`Retries`) has passed. A
    transaction keeps its uuid in all attempts, so it is processed once. `saldo.client.errors` lists the exceptions.

    One client is sufficient for a whole program, because it keeps connections open. After a fork, each process opens
    its own connections. A `transport` that was given is shared by the processes.
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
            url: The address of the service. The proxies in the environment (HTTPS_PROXY, ALL_PROXY, NO_PROXY) are used,
                except for loopback addresses.
            key: A key, as `saldo keys create` has printed it, or a token.
            retries: The timeouts and the backoff of calls.
            verify: How the service's certificate is verified: True (with the default CA certificates), False (not at
                all), or a TLS context.
            transport: A replacement for the network, for tests; see `saldo.testing`.

        Raises:
            TypeError, ValueError: The URL or the key is invalid, or the environment names a proxy that can't be used.
        """
        url = check_url(url)
        headers = {"user-agent": f"saldo-python/{VERSION}"}
        if key is not None:
            headers["authorization"] = format_authorization(key)
        checked = verify if transport is not None else create_tls_context(url, verify)

        def create_http_client(limits: httpx.Limits) -> httpx.AsyncClient:
            with explain_proxy_errors():
                return httpx.AsyncClient(
                    base_url=url,
                    headers=headers,
                    verify=checked,
                    transport=transport,
                    limits=limits,
                    trust_env=not is_direct(url),
                )

        proxy = None if transport is not None else find_proxy_variable(url)
        self._connection = AsyncConnection(create_http_client, retries or Retries(), proxy)

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
        """Close the connections."""
        await self._connection.aclose()

    # --- users --------------------------------------------------------------------------------

    async def create_user(self, name: str) -> User:
        """Create a user with a balance of zero.

        Raises:
            NameTakenError: A user with this name exists. If the response of an earlier attempt was lost, this call may
                have created the user; see `perhaps_ours`.
        """
        return await self._connection.call(endpoints.create_user(name))

    async def user(self, user_id: int) -> User:
        """Return a user with the current balance."""
        return await self._connection.call(endpoints.user(user_id))

    def users(
        self, *, name: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> AsyncPages[User]:
        """Return the users, ordered by id.

        Args:
            name: Return only the user with this name.
            limit: The maximum number of users per page.
            cursor: The start of the first page: the `next_cursor` of an earlier page.
        """
        return AsyncPages(self._connection, endpoints.users(name, limit), cursor)

    async def balance(
        self,
        user_id: int,
        *,
        date: Instant | None = None,
        before: Instant | None = None,
        known_at: Instant | None = None,
    ) -> Balance:
        """Return a user's balance, now or at a date, as it is known now or was known at an earlier time.

        Args:
            date: Count the transactions that took effect at this time or earlier.
            before: Count the transactions that took effect before this time. It can't be combined with `date`.
            known_at: Count only the transactions that were recorded until this time.
        """
        return await self._connection.call(endpoints.balance(user_id, date, before, known_at))

    # --- transactions -------------------------------------------------------------------------

    async def deposit(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Transaction:
        """Post a deposit; see `post`."""
        return await self.post(Deposit(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def withdraw(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Transaction:
        """Post a withdrawal; see `post`."""
        return await self.post(Withdrawal(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def post(self, request: TransactionRequest) -> Transaction:
        """Post a transaction, and return it as it is recorded. It is posted once, however often it is sent.

        Args:
            request: The transaction. Store its `uuid` to be able to post it again after any failure.

        Raises:
            InsufficientFundsError, BalanceAboveMaximumError: The ledger has refused the transaction, and has recorded
                the refusal.
            UuidConflictError: The uuid belongs to another transaction.
            OutcomeUnknownError: The transaction may have been posted, or may still be posted. Post it again with the
                same uuid.
        """
        return await self._connection.call(endpoints.post(request))

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Posted | SaldoError]:
        """Post several independent transactions in one request, and return their outcomes in the same order.

        Use `writer` for more transactions than the service accepts in one request (5000 by default), or for a stream of
        them.
        """
        return await self._connection.call(endpoints.post_many(requests))

    async def post_atomic(self, requests: Sequence[TransactionRequest]) -> list[Posted]:
        """Post all of the transactions or none.

        Raises:
            OutcomeUnknownError: All transactions may have been posted, or may still be posted.
            SaldoError: The transactions can't be posted; `item` is the index of the first transaction that can't be
                posted. Nothing was recorded.
        """
        return await self._connection.call(endpoints.post_atomic(requests))

    def writer(
        self, *, batch_max: int = BATCH_MAX, outstanding_max: int = OUTSTANDING_MAX
    ) -> AsyncWriter:
        """Return a writer, which posts thousands of transactions per second. Use it as a context manager.

        Args:
            batch_max: The maximum number of transactions per request.
            outstanding_max: The maximum number of unanswered transactions. When it is reached, posting another
                transaction waits until one is answered.
        """
        return AsyncWriter(self._connection, batch_max=batch_max, outstanding_max=outstanding_max)

    async def transaction(self, uuid: UUID | str, *, user_id: int | None = None) -> Transaction:
        """Return the transaction with a uuid. Refused transactions are returned, too; their `outcome` is the reason.

        Args:
            user_id: Return the transaction only if it belongs to this user. On a distributed ledger, the search is
                faster with a user.
        """
        return await self._connection.call(endpoints.transaction(uuid, user_id))

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
        """Return a user's transactions, refused ones included, with the greatest `number` first.

        Args:
            since: The start of the range of timestamps, inclusive (`from` in the API).
            until: The end of the range of timestamps, exclusive (`to` in the API).
            type: Return only transactions of this type.
            known_at: Return only transactions that were recorded until this time. All pages then show the same state.
            limit: The maximum number of transactions per page.
            cursor: The start of the first page: the `next_cursor` of an earlier page.
        """
        listing = endpoints.transactions(user_id, since, until, type, limit, known_at)
        return AsyncPages(self._connection, listing, cursor)

    async def transaction_log(
        self, shard: int, *, after: int | None = None, limit: int | None = None
    ) -> TransactionLog:
        """Return a part of the log of one of the 64 shards, refused transactions included.

        Use it to copy the whole log, and later to copy the new entries.

        Args:
            after: Return the entries after this `seq`.
        """
        return await self._connection.call(endpoints.transaction_log(shard, after, limit))

    # --- events -------------------------------------------------------------------------------

    def events(
        self,
        *,
        user_ids: Iterable[int] | None = None,
        types: Iterable[EventType] | None = None,
        start: Instant = "now",
        timeout_seconds: float | None = None,
    ) -> AsyncEvents:
        """Return an endless iterator over the events of the log. It begins at `start`, and continues with new events as
        they happen.

        Args:
            user_ids: Return only events of these users; None means all.
            types: Return only events of these types; None means all.
            start: The start of the events: `now`, `start` (the beginning of the log), a time, or the `position` of an
                event, after which the iteration continues.
            timeout_seconds: The time without a connection after which the iteration raises; None means that the
                iterator retries for ever.

        Raises:
            PositionGoneError: The log does not have this position. The iteration raises this error, and not the method.
        """
        return AsyncEvents(
            self._connection, EventStreamState(user_ids, types, start, timeout_seconds)
        )

    # --- proofs -------------------------------------------------------------------------------

    async def proof(self, uuid: UUID | str) -> Proof:
        """Return a proof that a transaction is in the log; see `Proof.verify`.

        The call waits until the transaction is sealed, which takes about a second.
        """
        return await self._connection.call(endpoints.proof(uuid))

    async def seals(
        self, *, shard: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Seals:
        """Return the newest seal of each shard, or the seals of one shard in their order.

        Args:
            shard: Return the seals of this shard.
            after: Return the seals after this `seq`.
        """
        return await self._connection.call(endpoints.seals(shard, after, limit))

    # --- webhooks -----------------------------------------------------------------------------

    async def create_webhook(
        self,
        url: str,
        *,
        event_types: Iterable[RelayedEventType] | None = None,
        user_ids: Iterable[int] | None = None,
        secret: str | None = None,
    ) -> Webhook:
        """Create a webhook for a URL. Its `secret` is returned only this once.

        Raises:
            OutcomeUnknownError: The webhook may exist now; see `webhooks`. The call is not repeated, because that could
                create a second one.
        """
        return await self._connection.call(
            endpoints.create_webhook(url, event_types, user_ids, secret)
        )

    async def webhook(self, webhook_id: int) -> Webhook:
        """Return a webhook and its state."""
        return await self._connection.call(endpoints.webhook(webhook_id))

    def webhooks(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> AsyncPages[Webhook]:
        """Return all webhooks, ordered by id."""
        return AsyncPages(self._connection, endpoints.webhooks(limit), cursor)

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
        """Change the given fields of a webhook."""
        changes = {
            "url": url,
            "event_types": event_types,
            "user_ids": user_ids,
            "secret": secret,
            "enabled": enabled,
        }
        return await self._connection.call(endpoints.change_webhook(webhook_id, changes))

    async def delete_webhook(self, webhook_id: int) -> Webhook:
        """Delete a webhook with its pending deliveries, and return it as it was."""
        return await self._connection.call(endpoints.delete_webhook(webhook_id))

    def deliveries(
        self,
        webhook_id: int,
        *,
        state: Literal["pending", "dead"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> AsyncPages[Delivery]:
        """Return the pending and the dead deliveries of a webhook."""
        return AsyncPages(self._connection, endpoints.deliveries(webhook_id, state, limit), cursor)

    async def replay_deliveries(self, webhook_id: int, *, event_id: str | None = None) -> int:
        """Retry the pending and dead deliveries of a webhook, or only the delivery of one event, and return their
        number."""
        return await self._connection.call(endpoints.replay_deliveries(webhook_id, event_id))

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
        """Create a key. Its `key` is returned only this once.

        The call is not repeated if its response is lost, because that could create a second key.
        """
        return await self._connection.call(
            endpoints.create_key(name, scopes, user_ids, networks, expires_at)
        )

    async def key(self, key_id: int) -> Key:
        """Return a key with its scopes, its limits and its expiry."""
        return await self._connection.call(endpoints.key(key_id))

    def keys(self, *, limit: int | None = None, cursor: str | None = None) -> AsyncPages[Key]:
        """Return all keys, ordered by id, including revoked and expired ones."""
        return AsyncPages(self._connection, endpoints.keys(limit), cursor)

    async def revoke_key(self, key_id: int) -> Key:
        """Revoke a key, so that it is no longer accepted."""
        return await self._connection.call(endpoints.revoke_key(key_id))

    async def rotate_key(self, key_id: int, *, overlap_seconds: int | None = None) -> Key:
        """Create a key with the same rights. The old key remains valid for the overlap. The call is not repeated."""
        return await self._connection.call(endpoints.rotate_key(key_id, overlap_seconds))

    # --- operation ----------------------------------------------------------------------------

    async def health(self, what: Literal["live", "ready", "startup"] = "ready") -> str:
        """Return the state of the service: `ok`, `draining` or `unavailable`."""
        return await self._connection.call(endpoints.health(what))

    async def metrics(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        return await self._connection.call(endpoints.metrics())

    async def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        return await self._connection.call(endpoints.openapi())
