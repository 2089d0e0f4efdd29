"""Forgotten: to look whether the uuid is recorded already, before this batch.

Harm: whoever sends again because no answer came (the client, or the lane after a lost connection) posts twice.
Fence taken down: the unique index on the uuid. With it, the second would clash for ever and never be answered.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function, take_down


def prepare(connection: Connection) -> None:
    """See the file."""
    change_function(
        connection, POST, ("AS t ON t.uuid = q.uuid", "AS t ON t.uuid = q.uuid AND false")
    )
    take_down(connection, "transactions_uuid_unique", "uuid")


MUTANT = Mutant(
    "forgets_uuid_check",
    caught_as=("doubled",),
    provoked_by=(),
    prepare=prepare,
)
