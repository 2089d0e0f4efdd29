"""API keys."""

from saldo.store.schema.migrations.steps import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run("0009_keys")
