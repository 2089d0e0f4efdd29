"""Webhook subscriptions, and their pending and dead deliveries."""

from saldo.store.schema.migrations.steps import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("0004_webhooks")
