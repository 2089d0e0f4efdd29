"""Counts of the rows of an import by outcome, and their report."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from saldo.cli.output import format_amount, print_json, print_line, to_json_value
from saldo.client.payloads import Deposit, TransactionRequest


class RowCounts(msgspec.Struct):
    """Counts of rows by outcome, and sums of the posted amounts.

    Attributes:
        posted: Rows that this import has posted.
        replayed: Rows that were posted before, by this import or another one.
        refused: Rows that the ledger has refused, and whose refusal is recorded.
        invalid: Rows that were rejected and not recorded.
        deposited: The sum of the posted deposits, without replayed ones.
        withdrawn: The sum of the posted withdrawals, without replayed ones.
    """

    rows: int = 0
    posted: int = 0
    replayed: int = 0
    refused: int = 0
    invalid: int = 0
    deposited: Decimal = Decimal(0)
    withdrawn: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """The report at the end of a run.

    Attributes:
        before: The number of rows that earlier runs have processed.
        rejects: The file with the rows that were not posted; None if there are none.
        stopped: The reason why the rest of the file could not be read; None if all rows were read.
    """

    counts: RowCounts
    before: int
    rejects: Path | None
    seconds: float
    stopped: str | None

    def print(self, *, dry_run: bool, as_json: bool) -> None:
        """Print the report: lines for people, or one JSON document."""
        if as_json:
            print_json(self._build_json_document(dry_run=dry_run))
            return
        if self.stopped is not None:
            return  # the error message contains the counts
        counts = self.counts
        deposited, withdrawn = _align_decimals(counts.deposited, counts.withdrawn)
        sums = f"; deposits {format_amount(deposited)}, withdrawals {format_amount(withdrawn)}"
        if not counts.posted:
            sums = ""
        if dry_run:
            print_line(
                f"{counts.rows:,} rows: {counts.posted:,} valid, {counts.replayed:,} duplicates, "
                f"{counts.invalid:,} invalid{sums}"
            )
            print_line("this was a dry run: nothing was posted")
            return
        print_line(
            f"{counts.rows:,} rows: {counts.posted:,} posted, {counts.replayed:,} already posted before, "
            f"{counts.refused:,} refused, {counts.invalid:,} invalid{sums}"
        )
        rate = (counts.rows - self.before) / max(self.seconds, 0.001)
        print_line(f"{self.seconds:.1f} s, {rate:,.0f} rows/s")
        if self.rejects is not None:
            print_line(f"rows that were not posted are in {self.rejects}, with the reasons")

    def _build_json_document(self, *, dry_run: bool) -> dict[str, Any]:
        deposited, withdrawn = _align_decimals(self.counts.deposited, self.counts.withdrawn)
        document: dict[str, Any] = to_json_value(self.counts) | {
            "deposited": to_json_value(deposited),
            "withdrawn": to_json_value(withdrawn),
            "dry_run": dry_run,
            "seconds": round(self.seconds, 3),
            "rejected_file": None if self.rejects is None else str(self.rejects),
            "stopped": self.stopped,
        }
        if dry_run:
            document["valid"] = document.pop("posted")
            del document["refused"]
        return document


def count_posted(counts: RowCounts, request: TransactionRequest, replayed: bool) -> None:
    """Count a transaction that is posted."""
    if replayed:
        counts.replayed += 1
        return
    counts.posted += 1
    if isinstance(request, Deposit):
        counts.deposited += Decimal(request.amount)
    else:
        counts.withdrawn += Decimal(request.amount)


def _align_decimals(first: Decimal, second: Decimal) -> tuple[Decimal, Decimal]:
    """Return both values with the greater of their numbers of decimals."""
    nothing = (first + second) * 0
    return first + nothing, second + nothing
