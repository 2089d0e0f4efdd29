"""Sinks of the log, with the cursors up to which each has published."""

from saldo.store.schema.migrations.steps import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_sinks")
