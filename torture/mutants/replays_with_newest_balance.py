"""Mutant whose replays contain the user's newest balance.

Forgotten: a replay is answered like the first request.
Harm: a client that retries because the first answer was lost gets the user's newest balance instead of the balance
after the transaction. The first request can never have returned this balance.
Safeguard removed: none. What is recorded stays correct.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function

RECORDED = "balances[stood.item] := stood.balance;"
NEWEST = """\
balances[stood.item] := (
            SELECT t.balance FROM saldo.transactions AS t
            WHERE t.user_id = stood.user_id ORDER BY t.number DESC LIMIT 1
        );"""


def prepare(connection: Connection) -> None:
    """Plant the bug that the module's docstring describes."""
    change_function(connection, POST, (RECORDED, NEWEST))


MUTANT = Mutant(
    "replays_with_newest_balance",
    caught_as=("changed transaction", "answers differ"),
    provoked_by=(),
    prepare=prepare,
)
