"""API keys with their scopes, users and networks."""

from saldo.store.schema.migrations.steps import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run("0009_keys")
