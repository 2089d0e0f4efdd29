"""Notices of disabled webhooks, which are events outside the log."""

from saldo.store.schema.migrations.steps import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_notices")
