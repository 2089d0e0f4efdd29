"""Days of 24 hours, a limit for late withdrawals per batch, past balances of any size, and keys in byte order.

`post_2` and `balance_1` remain for two releases. Afterwards `saldo.store.schema.online_changes` changes `saldo.users`.
"""

from saldo.store.schema.migrations.steps import (
    is_distributed,
    is_without_users,
    run,
    run_distributed,
)

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    if is_distributed():
        run("0012_distributed", "0012_rules")
        run_distributed("post", "balance")
    else:
        run("0012_ledger", "0012_rules", "0012_post", "0012_balance")
    run("0012_collation")
    if is_without_users():
        run("0012_users_empty")
