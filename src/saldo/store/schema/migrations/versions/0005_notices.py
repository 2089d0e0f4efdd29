"""Notices: events of the service itself, which are not in the log, such as a disabled webhook."""

from saldo.store.schema.migrations.steps import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_notices")
