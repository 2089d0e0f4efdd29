"""Seals of the log."""

from saldo.store.schema.migrations.steps import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run("0008_seals")
