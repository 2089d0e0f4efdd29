"""The id of the ledger, and the newest signed head."""

from saldo.store.schema.migrations.steps import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run("0014_heads")
