"""The state of the audit in the background, and the faults that it has found."""

from saldo.store.schema.migrations.steps import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run("0010_audit")
