"""Sends rows as streams of lines, and sends again what has no answer until each has one."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import httpx

from saldo.cli.output import note
from saldo.cli.stopping import Stop
from saldo.cli.tables import Row
from saldo.client.answers import error_of
from saldo.client.batch import Batch, Item, Settled
from saldo.client.calls import BULK_PATH, NDJSON
from saldo.client.errors import SaldoError, UnavailableError
from saldo.client.network import in_time, is_lost, was_sent
from saldo.client.retry import lost, maybe_done
from saldo.client.synchronous.connection import Connection, whole


class Sender:
    """Posts some rows at a time. One that is waited for may be the service that was restarted meanwhile."""

    def __init__(self, connection: Connection, stop: Stop) -> None:
        self._connection = connection
        self._stop = stop
        self._waiting = False

    def deliver(self, items: Sequence[Item[Row]]) -> list[Settled[Row]]:
        """What became of each, in the order of the answers.

        Raises:
            SaldoError: the service takes none of them, or could not be reached for too long. Some may be posted.
            KeyboardInterrupt: told to stop while waiting.
        """
        batch = Batch(items, time.monotonic(), self._connection.retries)
        settled: list[Settled[Row]] = []
        while batch.unanswered:
            error, sent = self._attempt(batch, settled)
            if error is not None and not isinstance(error, UnavailableError):
                raise error
            pause, rest = batch.ended(error, time.monotonic(), random.random, sent=sent)
            settled += rest
            self._tell(error)
            if pause:
                self._stop.sleep(pause)
        undecided = next(
            (each.outcome for each in settled if isinstance(each.outcome, UnavailableError)), None
        )
        if undecided is not None:
            raise undecided
        return settled

    def _attempt(
        self, batch: Batch[Row], settled: list[Settled[Row]]
    ) -> tuple[SaldoError | None, bool]:
        """One attempt: what has ended it, if not the end of the answer; and whether it may have had an effect."""
        timeout = httpx.Timeout(self._connection.retries.attempt_seconds)
        headers = {"content-type": NDJSON}
        body = batch.attempt()
        try:
            with self._connection.stream(
                "POST", BULK_PATH, headers, timeout, body=body
            ) as response:
                if response.status_code != 200:
                    refused = error_of(whole(response, batch.deadline))
                    return refused, maybe_done(refused)
                for data in response.iter_bytes():
                    settled += batch.take(data, time.monotonic())
                    in_time(batch.deadline)
        except httpx.RequestError as error:
            if not is_lost(error):
                raise
            return lost(error), was_sent(error)
        return None, True

    def _tell(self, error: SaldoError | None) -> None:
        if (error is not None) is not self._waiting:
            self._waiting = error is not None
            note("saldo: the service is back" if error is None else f"saldo: waiting: {error}")
