"""`saldo verify` compares the whole ledger with its rules and its seals."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import typer

from saldo.bootstrap.audit import open_verification
from saldo.bootstrap.database import Purpose
from saldo.cli.connection.database import LocalDatabase, open_database
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.head_files import parse_public_keys, read_head_files
from saldo.cli.output import format_count, print_line
from saldo.cli.progress import show_progress
from saldo.cli.signals import TERMINATION
from saldo.cli.verify_files import read_checkpoint, read_saved_seals, write_checkpoint
from saldo.encoding.json import encode_json
from saldo.ledger.audit.head_chain import (
    HeadFault,
    HeadFile,
    HeadHistory,
    HeadPolicy,
    check_heads,
)
from saldo.ledger.audit.rules import LedgerFault
from saldo.ledger.audit.seal_chain import SealRow
from saldo.ledger.heads import InvalidHeadError, parse_head
from saldo.ledger.instants import format_instant
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
        history: The signed heads that the ledger was compared with; None if there was no --seals.
    """

    entries: int
    sealed: int
    seconds: float
    faults: list[LedgerFault | HeadFault]
    stopped: bool
    warnings: list[str]
    history: HeadHistory | None = None


class PublishedHeads(NamedTuple):
    """The published heads of --seals, and the verifier's knowledge about them."""

    files: list[HeadFile]
    keys: frozenset[bytes]
    age_max: timedelta | None
    known_epochs: frozenset[str]

    def check(self, ledger_id: UUID) -> HeadHistory:
        """Check the heads against each other, for the ledger with this id."""
        now = datetime.now(UTC)
        return check_heads(
            self.files, HeadPolicy(ledger_id, self.keys, now, self.age_max, self.known_epochs)
        )


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
    seals: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Directory with the signed heads that the service has published. They are checked against each other, "
            "and compared with the ledger. Can be repeated.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PUBLICKEY",
            help="Public key that has signed the first head, as `saldo seals key` prints it. Can be repeated, for a "
            "key that replaced a lost one. Requires --seals.",
        ),
    ] = None,
    max_age: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Maximum age of the newest head. An older one is a fault. Requires --seals.",
        ),
    ] = None,
    restored: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EPOCH",
            help="Epoch that began with a restore which you know of. The heads that this restore has cut off are no "
            "fault. Can be repeated. Requires --seals.",
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
    published_heads = _read_published_heads(seals, key, max_age, restored)
    with open_database(settings, Purpose.READ, local=local) as database_url:

        async def work() -> VerificationReport:
            async with open_verification(settings, database_url) as verification:
                return await _verify_ledger(
                    verification, state, saved_seals, published_heads, FAULTS_MAX if all_ else 1
                )

        report = asyncio.run(work())
    _print_report(report, state, as_json=json_)
    if report.faults:
        raise typer.Exit(ExitCode.REFUSED)
    raise typer.Exit(ExitCode.INTERRUPTED if report.stopped else ExitCode.DONE)


def _read_published_heads(
    directories: list[Path] | None,
    keys: list[str] | None,
    age_seconds_max: float | None,
    restored: list[str] | None,
) -> PublishedHeads | None:
    """Return the published heads; None without --seals."""
    if not directories:
        if keys or restored or age_seconds_max is not None:
            raise CommandError("--key, --max-age and --restored require --seals", ExitCode.USAGE)
        return None
    if not keys:
        raise CommandError(
            "--seals requires --key with the public key, as `saldo seals key` prints it",
            ExitCode.USAGE,
        )
    return PublishedHeads(
        [*read_head_files(directories)],
        parse_public_keys(keys),
        None if age_seconds_max is None else timedelta(seconds=age_seconds_max),
        frozenset(restored or ()),
    )


def _terminate(stopped: asyncio.Event) -> None:
    TERMINATION.record()
    stopped.set()


async def _verify_ledger(
    verification: Verification,
    state: Path | None,
    saved_seals: list[SealRow],
    published_heads: PublishedHeads | None,
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
    warnings = [*schema.warnings]
    faults: list[LedgerFault | HeadFault] = [
        *schema.faults,
        *await verification.compare_kept_seals(saved_seals),
    ]
    history = None
    if published_heads is not None:
        ledger_id, newest = await verification.read_ledger_id()
        history = published_heads.check(ledger_id)
        faults += [*history.faults, *await verification.compare_heads(history.heads)]
        warnings += _warn_of_missing_heads(history, newest)
    faults = faults[:faults_max]
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
        warnings,
        history,
    )


def _warn_of_missing_heads(history: HeadHistory, newest: bytes | None) -> list[str]:
    """Return a warning if the ledger has published a newer head than the directory contains.

    This is no fault, because the directory may be a copy that is not up to date.
    """
    try:
        published = None if newest is None else parse_head(newest).head
    except InvalidHeadError:
        return ["the newest head in the database can't be read"]
    if published is None or history.newest is None or published.time <= history.newest.head.time:
        return []
    return [
        f"the newest head in the directory is {history.newest.head.number}, but the ledger has published head "
        f"{published.number} at {format_instant(published.time)}"
    ]


def _delete_state(state: Path | None, faults: list[LedgerFault | HeadFault]) -> None:
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
    newest = None if report.history is None else report.history.newest
    if report.history is not None and newest is not None:
        print_line(
            f"{format_count(len(report.history.heads), 'signed head')}, the newest is {newest.head.number} of "
            f"{format_instant(newest.head.time)}, signed by {newest.head.key.hex()}"
        )
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
            if isinstance(fault, LedgerFault)
        ],
    } | _build_heads_document(report)


def _build_heads_document(report: VerificationReport) -> dict[str, Any]:
    """Return the part of the report about signed heads; nothing without --seals."""
    if report.history is None:
        return {}
    newest = report.history.newest
    return {
        "heads": len(report.history.heads),
        "newest_head": None
        if newest is None
        else {
            "number": newest.head.number,
            "epoch": newest.head.epoch,
            "time": format_instant(newest.head.time),
            "key": newest.head.key.hex(),
        },
        "head_faults": [fault._asdict() for fault in report.faults if isinstance(fault, HeadFault)],
    }
