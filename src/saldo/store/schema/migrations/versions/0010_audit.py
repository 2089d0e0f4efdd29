"""The audit in the background, and what it finds."""

from saldo.store.schema.migrations.steps import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run("0010_audit")
