"""`saldo relay` runs the relay without the service, shows the state of the sinks, and rewinds them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from saldo.bootstrap.database import Database, Purpose
from saldo.bootstrap.heads import check_head_keys
from saldo.bootstrap.logging_setup import set_up_logging
from saldo.bootstrap.relay import (
    PositionBeyondHeadError,
    RewindTarget,
    read_sink_status,
    rewind_sink,
)
from saldo.cli.connection.database import (
    LocalDatabase,
    open_database,
    report_unknown_outcome,
)
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import print_confirmation, print_json, print_table
from saldo.cli.root_account import refuse_root, warn_about_root
from saldo.cli.times import parse_time_option
from saldo.server.relay_main import relay_until_stopped
from saldo.settings import model as settings_module
from saldo.store.sinks import UnknownSinkError

app = typer.Typer(
    help="Run the relay, and manage its sinks.",
    invoke_without_command=True,
)


@app.callback()
def relay(context: typer.Context, local: LocalDatabase = False) -> None:
    """Run the relay, and manage its sinks.

    Without a subcommand, the relay publishes events to the configured sinks, seals the log, counts the ledger's totals
    and audits the ledger, until it is stopped. It serves no HTTP.
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_module.load_settings()
    set_up_logging(settings)
    refuse_root(settings)
    check_head_keys(settings)
    with Database(settings, may_start=local) as database_url:
        warn_about_root()
        relay_until_stopped(settings, database_url)


@app.command()
def status(json_: Json = False, local: LocalDatabase = False) -> None:
    """Show the progress and the lag of every sink."""
    settings = settings_module.load_settings()
    with open_database(settings, Purpose.READ, local=local) as database_url:
        statuses = asyncio.run(read_sink_status(settings, database_url))
    if json_:
        for sink in statuses:
            print_json(asdict(sink))
        return
    rows = [
        (
            sink.name,
            "yes" if sink.is_active else "no",
            f"{sink.events_published:,}",
            f"{sink.events_unrouted:,}",
            f"{sink.events_behind:,}",
            f"{sink.seconds_behind:.1f}",
            f"{sink.last_failure_at:%Y-%m-%d %H:%M:%S}: {sink.last_failure}"
            if sink.last_failure_at
            else "",
        )
        for sink in statuses
    ]
    columns = ("sink", "active", "published", "unrouted", "behind", "seconds", "last failure")
    print_table(columns, rows)


@app.command()
def rewind(
    sink: Annotated[str, typer.Option(help="Name of the sink, as shown by `saldo relay status`.")],
    to: Annotated[
        str,
        typer.Option(
            help="Position to continue from: a time (events recorded at this time or later are published), start, now, "
            "or SHARD:SEQ (events of one shard after this sequence number are published)."
        ),
    ],
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Move a sink to an earlier or later position.

    Events after that position are published again. With --to now, all events so far are skipped.
    """
    settings = settings_module.load_settings()
    target = _parse_target(to)
    with open_database(settings, Purpose.CHANGE, local=local) as database_url:
        try:
            with report_unknown_outcome("the command can be repeated"):
                asyncio.run(rewind_sink(settings, database_url, sink, target))
        except UnknownSinkError:
            raise CommandError(
                f"--sink {sink}: there is no such sink; `saldo relay status` lists all sinks"
            ) from None
        except PositionBeyondHeadError as error:
            raise CommandError(f"--to {to}: {error}", ExitCode.USAGE) from None
    print_confirmation(f"{sink} continues from {to}", {"sink": sink, "to": to}, as_json=json_)


def _parse_target(to: str) -> RewindTarget:
    if to == "start":
        return "start"
    if to == "now":
        return "now"
    shard, colon, seq = to.partition(":")
    if colon and shard.isdecimal() and seq.isdecimal() and int(shard) < 64:
        return int(shard), int(seq)
    try:
        return parse_time_option("--to", to)
    except CommandError as error:
        raise CommandError(
            f"{error}; start, now and SHARD:SEQ are accepted, too", error.code
        ) from None
