"""The restore id, which distinguishes a restored log from the original."""

from saldo.store.schema.migrations.steps import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run("0007_restore")
