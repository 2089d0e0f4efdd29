"""A sender that posts rows as streams of lines, and sends unanswered rows again."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import httpx

from saldo.cli.importing.row_readers import Row
from saldo.cli.output import print_note
from saldo.cli.signals import StopRequest
from saldo.client.batch import BulkRequest, Item, ItemOutcome
from saldo.client.endpoints import BULK_PATH, NDJSON
from saldo.client.errors import OutcomeUnknownError, SaldoError, UnavailableError
from saldo.client.responses import parse_error
from saldo.client.retry import create_no_response_error, may_have_effect
from saldo.client.synchronous.connection import Connection, read_response
from saldo.client.transport_errors import check_deadline, is_transport_failure, may_have_been_sent


class BulkSender:
    """Posts batches of rows, and waits for a service that is unavailable, for example because it is being restarted."""

    def __init__(self, connection: Connection, stop: StopRequest) -> None:
        self._connection = connection
        self._stop = stop
        self._waiting = False

    def post(self, items: Sequence[Item[Row]]) -> list[ItemOutcome[Row]]:
        """Post rows, and return their outcomes in the order of the answers.

        Raises:
            SaldoError: The service rejects the request, or could not be reached for too long. Some rows may be posted.
            KeyboardInterrupt: A signal arrived while the sender was waiting.
        """
        batch = BulkRequest(items, time.monotonic(), self._connection.retries)
        settled: list[ItemOutcome[Row]] = []
        while batch.unanswered:
            error, sent = self._send_batch(batch, settled)
            if error is not None and not isinstance(error, UnavailableError):
                raise error
            pause, failed_items = batch.end_attempt(
                error, time.monotonic(), random.random, sent=sent
            )
            settled += failed_items
            self._report_availability(error)
            if pause:
                self._stop.sleep(pause)
        undecided = next(
            (
                each.outcome
                for each in settled
                if isinstance(each.outcome, UnavailableError | OutcomeUnknownError)
            ),
            None,
        )
        if undecided is not None:
            undecided.uuid = None  # the whole import must be repeated, not this row
            raise undecided
        return settled

    def _send_batch(
        self, batch: BulkRequest[Row], settled: list[ItemOutcome[Row]]
    ) -> tuple[SaldoError | None, bool]:
        """Make one attempt. Return the error that ended it, if any, and whether the attempt may have had an effect."""
        timeout = httpx.Timeout(self._connection.retries.attempt_seconds)
        headers = {"content-type": NDJSON}
        body = batch.start_attempt()
        try:
            with self._connection.stream(
                "POST", BULK_PATH, headers, timeout, body=body
            ) as response:
                if response.status_code != 200:
                    refused = parse_error(read_response(response, batch.deadline))
                    return refused, may_have_effect(refused)
                for data in response.iter_bytes():
                    settled += batch.feed(data, time.monotonic())
                    check_deadline(batch.deadline)
        except httpx.RequestError as error:
            if not is_transport_failure(error):
                raise
            return create_no_response_error(error), may_have_been_sent(error)
        return None, True

    def _report_availability(self, error: SaldoError | None) -> None:
        if (error is not None) is not self._waiting:
            self._waiting = error is not None
            print_note(
                "saldo: the service is available again"
                if error is None
                else f"saldo: waiting for the service: {error}"
            )
