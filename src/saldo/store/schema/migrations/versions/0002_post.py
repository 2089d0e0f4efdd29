"""A batch that is recorded whole or not at all; less on the way back. `post_1` stays for two releases."""

from saldo.store.schema.migrations.steps import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_post")
