"""Subscriptions of webhooks, and the events of them that wait."""

from saldo.store.schema.migrations.steps import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("0004_webhooks")
