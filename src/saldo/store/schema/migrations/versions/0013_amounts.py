"""Sums of posted deposits and withdrawals, counted along the log."""

from saldo.store.schema.migrations.steps import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run("0013_amounts")
