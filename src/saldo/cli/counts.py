"""What has become of the rows of an import: counted, and told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from saldo.cli.output import money, plain, print_json, say
from saldo.client.requests import Deposit, Request


class Counts(msgspec.Struct):
    """What has become of the rows.

    Attributes:
        posted: now. replayed: before, by this import or another one.
        refused: by the ledger, and recorded so. bad: not recorded.
        deposited, withdrawn: sums of what is posted, replayed ones counted.
    """

    rows: int = 0
    posted: int = 0
    replayed: int = 0
    refused: int = 0
    bad: int = 0
    deposited: Decimal = Decimal(0)
    withdrawn: Decimal = Decimal(0)


def tell(
    counts: Counts,
    before: int,
    rejects: Path | None,
    seconds: float,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Says it.

    Args:
        before: the rows that earlier runs have done.
    """
    deposited, withdrawn = _alike(counts.deposited, counts.withdrawn)
    if as_json:
        summary = plain(counts) | {
            "deposited": plain(deposited),
            "withdrawn": plain(withdrawn),
            "dry_run": dry_run,
            "seconds": round(seconds, 3),
            "rejected_file": None if rejects is None else str(rejects),
        }
        if dry_run:
            summary["valid"] = summary.pop("posted")
            del summary["replayed"], summary["refused"]
        print_json(summary)
        return
    sums = f"deposits {money(deposited)}, withdrawals {money(withdrawn)}"
    if dry_run:
        say(
            f"{counts.rows:,} rows: {counts.posted:,} can be posted, {counts.bad:,} are bad; {sums}"
        )
        say("nothing was posted: this was a dry run")
        return
    say(
        f"{counts.rows:,} rows: {counts.posted:,} posted, {counts.replayed:,} posted before, "
        f"{counts.refused:,} refused, {counts.bad:,} bad; {sums}"
    )
    say(f"{seconds:.1f} s, {(counts.rows - before) / max(seconds, 0.001):,.0f} rows/s")
    if rejects is not None:
        say(f"what was not posted is in {rejects}, with the reason")


def counted(counts: Counts, request: Request, replayed: bool) -> None:
    """Counts a transaction that is posted."""
    if replayed:
        counts.replayed += 1
    else:
        counts.posted += 1
    if isinstance(request, Deposit):
        counts.deposited += Decimal(request.amount)
    else:
        counts.withdrawn += Decimal(request.amount)


def _alike(one: Decimal, other: Decimal) -> tuple[Decimal, Decimal]:
    """Both with as many decimals as the one that has more."""
    nothing = (one + other) * 0
    return one + nothing, other + nothing
