"""Totals of the ledger, counted along the log."""

from saldo.store.schema.migrations.steps import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_totals")
