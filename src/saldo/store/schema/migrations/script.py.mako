"""${message}"""

from saldo.store.migrations.steps import run

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    run("${up_revision}_NAME")
