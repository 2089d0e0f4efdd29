"""Mutant that checks a late withdrawal against the newest balance only.

Forgotten: every later balance must cover a late withdrawal, too.
Harm: a balance at a date is negative, because the money was not there yet or not there any more.
Safeguard removed: none. The schema's check constraint covers the balance in an entry, which is the newest one. The
balance at a date is checked by the SQL function alone, and afterwards by `saldo verify`.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function


def prepare(connection: Connection) -> None:
    """Plant the bug that the module's docstring describes."""
    change_function(
        connection, POST, ("ELSIF moment >= horizon THEN", "ELSIF moment >= horizon OR true THEN")
    )


MUTANT = Mutant(
    "forgets_horizon_check",
    caught_as=("negative balance",),
    provoked_by=(),
    prepare=prepare,
)
