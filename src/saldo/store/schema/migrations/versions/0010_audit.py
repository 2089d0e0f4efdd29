"""Progress and faults of the audit in the background."""

from saldo.store.schema.migrations.steps import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run("0010_audit")
