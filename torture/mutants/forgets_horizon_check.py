"""Forgotten: that a late withdrawal must be borne by every later balance, too. It is held against the newest alone.

Harm: a balance at a date is negative: the money was not there yet, or not any more.
Fence taken down: none. The schema's check is of the balance that an entry carries, which is the newest; that of a date
is decided in the function alone, and looked at afterwards by `saldo verify`.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function


def prepare(connection: Connection) -> None:
    """See the file."""
    change_function(
        connection, POST, ("ELSIF moment >= horizon THEN", "ELSIF moment >= horizon OR true THEN")
    )


MUTANT = Mutant(
    "forgets_horizon_check",
    caught_as=("negative balance",),
    provoked_by=(),
    prepare=prepare,
)
