"""The log, the users, and the functions that write and read them."""

from saldo.store.schema.migrations.steps import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_ledger", "0001_post", "0001_users", "0001_balance")
