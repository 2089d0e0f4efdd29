"""Sinks of the log, and how far each has got."""

from saldo.store.schema.migrations.steps import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_sinks")
