"""`saldo audit` shows the findings of the background audit, and acknowledges them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from saldo.bootstrap.audit import open_audit_store
from saldo.bootstrap.database import Purpose
from saldo.cli.connection.database import (
    LocalDatabase,
    open_database,
    report_unknown_outcome,
)
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import format_count, print_confirmation, print_json, print_line
from saldo.ledger.instants import format_instant
from saldo.ledger.model import SHARDS
from saldo.settings import model as settings_module
from saldo.store.audit.progress import AuditStatus, KnownFault

WHY_LENGTH_MAX = 500
"""Maximum length of an explanation in characters, because a table shows it."""

app = typer.Typer(
    help="Show and acknowledge findings of the background audit.", no_args_is_help=True
)


@app.command()
def status(json_: Json = False, local: LocalDatabase = False) -> None:
    """Show the progress of the audit and all known faults."""
    settings = settings_module.load_settings()

    async def read(database_url: str) -> tuple[AuditStatus, list[KnownFault]]:
        async with open_audit_store(settings, database_url) as audits:
            return await audits.read_status(), await audits.list_faults()

    with open_database(settings, Purpose.READ, local=local) as database_url:
        found, faults = asyncio.run(read(database_url))
    if json_:
        print_json(
            asdict(found)
            | {"known_faults": [each._asdict() | {"fault": str(each.fault)} for each in faults]}
        )
        return
    ended = found.last_round_ended_at
    print_line(
        f"{format_count(found.rounds, 'complete round')}, the last ended "
        f"{'never' if ended is None else format_instant(ended)}; {format_count(found.entries, 'entry')} checked"
    )
    print_line(
        f"current round: shard {found.shard} of {SHARDS}, seq {found.seq}, "
        f"{'active' if found.is_active else 'idle'}"
    )
    for each in faults:
        print_line(_format_known_fault(each))
    print_line(format_count(found.faults, "unacknowledged fault"))


@app.command()
def acknowledge(
    fault_id: Annotated[
        int,
        typer.Argument(
            min=1, max=2**63 - 1, help="Number of the fault, as shown by `saldo audit status`."
        ),
    ],
    why: Annotated[
        str, typer.Option(help="Explanation of the fault, which is stored with the fault.")
    ],
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Acknowledge a fault.

    An acknowledged fault is no longer counted, unless it changes.
    """
    if not 0 < len(why.strip()) <= WHY_LENGTH_MAX:
        raise CommandError(f"--why: expected 1 to {WHY_LENGTH_MAX} characters", ExitCode.USAGE)
    settings = settings_module.load_settings()

    async def write(database_url: str) -> bool:
        async with open_audit_store(settings, database_url) as audits:
            return await audits.acknowledge_fault(fault_id, why.strip())

    with (
        open_database(settings, Purpose.CHANGE, local=local) as database_url,
        report_unknown_outcome(
            f"`saldo audit status` shows whether fault {fault_id} is acknowledged; if not, repeat the command"
        ),
    ):
        done = asyncio.run(write(database_url))
    if not done:
        raise CommandError(f"there is no fault {fault_id}; `saldo audit status` lists all faults")
    done_to = {"id": fault_id, "state": "acknowledged"}
    print_confirmation(f"fault {fault_id} is acknowledged", done_to, as_json=json_)


def _format_known_fault(fault: KnownFault) -> str:
    times_found = f"first {format_instant(fault.first_found_at)}, found {format_count(fault.times_found, 'time')}"
    line = f"fault {fault.id}: {fault.fault} ({times_found})"
    if fault.acknowledged_at is None:
        return line
    return f"{line}, acknowledged {format_instant(fault.acknowledged_at)}: {fault.acknowledged_why}"
