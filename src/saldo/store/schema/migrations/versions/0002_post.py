"""Atomic batches, and smaller results of the function that posts. `post_1` remains for two releases."""

from saldo.store.schema.migrations.steps import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_post")
