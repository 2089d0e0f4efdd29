"""Sinks, with their leases and cursors."""

from saldo.store.schema.migrations.steps import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_sinks")
