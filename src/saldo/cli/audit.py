"""`saldo audit`: what the audit in the background has found, and what an operator has seen to."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from saldo import settings as settings_module
from saldo.bootstrap.audits import audits_in
from saldo.bootstrap.database import Database
from saldo.cli.options import Json
from saldo.cli.output import confirm, print_json, say
from saldo.ledger.model import SHARDS
from saldo.ledger.time import format_instant
from saldo.store.audits import AuditStatus, KnownFault
from saldo.store.errors import SetUpError

WHY_LENGTH_MAX = 500
"""Characters of a reason: a table shows it."""

app = typer.Typer(
    help="Show what the audit in the background has found; acknowledge it.", no_args_is_help=True
)


@app.command()
def status(json_: Json = False) -> None:
    """Show how far the audit is, and every fault that was found."""
    settings = settings_module.load()

    async def read(database_url: str) -> tuple[AuditStatus, list[KnownFault]]:
        async with audits_in(settings, database_url) as audits:
            return await audits.status(), await audits.faults()

    with Database(settings, beside_service=True) as database_url:
        found, faults = asyncio.run(read(database_url))
    if json_:
        print_json(
            asdict(found)
            | {"known_faults": [each._asdict() | {"fault": str(each.fault)} for each in faults]}
        )
        return
    ended = found.last_round_ended_at
    say(
        f"{found.rounds:,} rounds, the last ended {'never' if ended is None else format_instant(ended)}; "
        f"{found.entries:,} entries looked at"
    )
    say(
        f"this round: shard {found.shard} of {SHARDS}, seq {found.seq}, "
        f"{'under way' if found.active else 'nobody is at it'}"
    )
    for each in faults:
        say(_written(each))
    say(f"{found.faults:,} faults that nobody has acknowledged")


@app.command()
def acknowledge(
    fault_id: Annotated[
        int,
        typer.Argument(min=1, max=2**63 - 1, help="Number, as `saldo audit status` shows it."),
    ],
    why: Annotated[str, typer.Option(help="What was done about it; kept beside it.")],
    json_: Json = False,
) -> None:
    """Say that a fault has been seen to: it is counted no longer, unless it changes."""
    if not 0 < len(why.strip()) <= WHY_LENGTH_MAX:
        raise SetUpError(f"--why: expected 1 to {WHY_LENGTH_MAX} characters")
    settings = settings_module.load()

    async def write(database_url: str) -> bool:
        async with audits_in(settings, database_url) as audits:
            return await audits.acknowledge(fault_id, why.strip())

    with Database(settings, beside_service=True) as database_url:
        done = asyncio.run(write(database_url))
    if not done:
        raise SetUpError(f"no fault has the number {fault_id}: see saldo audit status")
    done_to = {"id": fault_id, "state": "acknowledged"}
    confirm(f"fault {fault_id} is acknowledged", done_to, as_json=json_)


def _written(known: KnownFault) -> str:
    seen = f"first {format_instant(known.first_found_at)}, {known.times_found:,} times"
    line = f"fault {known.id}: {known.fault} ({seen})"
    if known.acknowledged_at is None:
        return line
    return f"{line}, acknowledged {format_instant(known.acknowledged_at)}: {known.acknowledged_why}"
