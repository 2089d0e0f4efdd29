"""`saldo verify` compares the whole ledger with its rules and its seals."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from saldo.bootstrap.audit import open_verification
from saldo.bootstrap.database import Purpose
from saldo.cli.connection.database import LocalDatabase, open_database
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.output import format_count, print_line
from saldo.cli.progress import show_progress
from saldo.cli.signals import TERMINATION
from saldo.cli.verify_files import read_checkpoint, read_saved_seals, write_checkpoint
from saldo.encoding.json import encode_json
from saldo.ledger.audit.rules import LedgerFault
from saldo.ledger.audit.seal_chain import SealRow
from saldo.settings import model as settings_module
from saldo.store.audit.verification import CheckpointMismatchError, Verification
from saldo.store.errors import ConfigurationError

CHECKPOINT_SECONDS = 2.0
"""Interval between two writes of the state file, in seconds. If the command is killed, at most this much work is
repeated."""

FAULTS_MAX = 1000
"""Maximum number of faults with --all. The run ends when it has found this many, which are enough to investigate."""


class VerificationReport(NamedTuple):
    """The result of a run.

    Attributes:
        entries: The number of entries that this run has verified.
        sealed: The number of sealed entries in the shards that were verified to their end.
    """

    entries: int
    sealed: int
    seconds: float
    faults: list[LedgerFault]
    stopped: bool
    warnings: list[str]


def verify(
    state: Annotated[
        Path | None,
        typer.Option(help="State file. If it exists, the command continues from its position."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            help="File with seals that were saved earlier (JSON from GET /v1/seals). They are compared with the "
            "ledger's."
        ),
    ] = None,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="Report all faults, not only the first. Can't be combined with --state."
        ),
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
    local: LocalDatabase = False,
) -> None:
    """Verify all entries, balances and seals of the ledger.

    The service may run meanwhile. The exit code is 0 if the ledger is intact, 1 if the command found faults (it prints
    them), 2 if an option, a setting or a file is invalid, 3 if the database is unavailable, and 130 or 143 if the
    command was interrupted.
    """
    if all_ and state is not None:
        raise CommandError("--all can't be combined with --state", ExitCode.USAGE)
    settings = settings_module.load_settings()
    saved_seals = [] if heads is None else read_saved_seals(heads)
    with open_database(settings, Purpose.READ, local=local) as database_url:

        async def work() -> VerificationReport:
            async with open_verification(settings, database_url) as verification:
                return await _verify_ledger(
                    verification, state, saved_seals, FAULTS_MAX if all_ else 1
                )

        report = asyncio.run(work())
    _print_report(report, state, as_json=json_)
    if report.faults:
        raise typer.Exit(ExitCode.REFUSED)
    raise typer.Exit(ExitCode.INTERRUPTED if report.stopped else ExitCode.DONE)


def _terminate(stopped: asyncio.Event) -> None:
    TERMINATION.record()
    stopped.set()


async def _verify_ledger(
    verification: Verification,
    state: Path | None,
    saved_seals: list[SealRow],
    faults_max: int,
) -> VerificationReport:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    loop.add_signal_handler(signal.SIGTERM, _terminate, stopped)
    began = checkpoint_written_at = time.monotonic()
    try:
        await verification.start(None if state is None else read_checkpoint(state))
    except CheckpointMismatchError:
        raise ConfigurationError(
            f"--state {state}: the file belongs to another log, because the database was restored, failed over or is "
            "another one: delete the file to start from the beginning"
        ) from None
    before = verification.entries
    schema = await verification.check_schema()
    faults = (schema.faults + await verification.compare_kept_seals(saved_seals))[:faults_max]
    try:
        if len(faults) < faults_max:
            with show_progress("verifying", unit="entries", count=before) as progress:
                async for step_faults in verification.run_steps():
                    faults += step_faults
                    if stopped.is_set() or len(faults) >= faults_max:
                        break
                    progress.show(
                        verification.entries, verification.entries, verification.entries_total
                    )
                    if (
                        state is not None
                        and time.monotonic() > checkpoint_written_at + CHECKPOINT_SECONDS
                    ):
                        write_checkpoint(state, verification.checkpoint)
                        checkpoint_written_at = time.monotonic()
                else:
                    # The run is complete. The next one starts at the beginning, because entries that were correct may
                    # be altered later.
                    _delete_state(state, faults)
                    state = None
    finally:
        if state is not None:
            write_checkpoint(state, verification.checkpoint)
    return VerificationReport(
        verification.entries - before,
        verification.checkpoint.sealed,
        time.monotonic() - began,
        faults[:faults_max],
        stopped.is_set() and not faults,
        schema.warnings,
    )


def _delete_state(state: Path | None, faults: list[LedgerFault]) -> None:
    if state is not None and not faults:
        state.unlink(missing_ok=True)


def _print_report(report: VerificationReport, state: Path | None, *, as_json: bool) -> None:
    if as_json:
        print(encode_json(_build_report_document(report)).decode())  # noqa: T201
        return
    for warning in report.warnings:
        print_line(f"warning: {warning}")
    for fault in report.faults:
        print_line(str(fault))
    entries, seconds = format_count(report.entries, "entry"), f"{report.seconds:.1f} s"
    if report.faults:
        print_line(
            f"the ledger is not intact: {format_count(len(report.faults), 'fault')} found, {entries} "
            f"verified in {seconds}"
        )
    elif report.stopped:
        continue_hint = "" if state is None else f"; use --state {state} to continue"
        print_line(f"stopped: {entries} verified in {seconds}, no faults so far{continue_hint}")
    else:
        print_line(
            f"the ledger is intact: {entries} verified in {seconds}, {format_count(report.sealed, 'entry')} sealed"
        )


def _build_report_document(report: VerificationReport) -> dict[str, Any]:
    return {
        "whole": None if report.stopped else not report.faults,
        "entries": report.entries,
        "entries_sealed": report.sealed,
        "seconds": round(report.seconds, 3),
        "warnings": report.warnings,
        "faults": [
            fault._asdict() | {"uuid": None if fault.uuid is None else str(fault.uuid)}
            for fault in report.faults
        ],
    }
