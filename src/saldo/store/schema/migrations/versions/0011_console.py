"""Sessions of the console, and the search of names by prefix."""

from saldo.store.schema.migrations.steps import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run("0011_console")
