"""What the service tells of itself, beside the log: a webhook that it disabled."""

from saldo.store.schema.migrations.steps import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_notices")
