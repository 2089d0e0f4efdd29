"""Sessions of the console, and an index for searches by the beginning of a name."""

from saldo.store.schema.migrations.steps import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run("0011_console")
