"""Forgotten: that a replay is answered as the first time. Its balance is read anew, the user's newest.

Harm: who sends again, because the first answer was lost, is told another balance than that which the transaction
left: an answer that the first sending can never have had.
Fence taken down: none. What is recorded stays right.
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
    """See the file."""
    change_function(connection, POST, (RECORDED, NEWEST))


MUTANT = Mutant(
    "replays_with_newest_balance",
    caught_as=("changed transaction", "answers differ"),
    provoked_by=(),
    prepare=prepare,
)
