"""Mutant whose commits don't wait for the disk: the database confirms them from memory.

Forgotten: a commit is durable only once it is on the disk.
Harm: a database that is killed loses what was acknowledged within the last moments. A service that is killed alone
loses nothing.
Safeguard removed: the `synchronous_commit` that `transactions/call_post_function.sql` sets for its own transaction,
whatever the server's setting is.
"""

from __future__ import annotations

from saldo.store import poster
from saldo.store.statements import load_statement
from torture.mutants.mutant import Mutant, replace

DURABLE, FASTER = "ELSE 'on' END", "ELSE 'off' END"


def statement_without_flush(name: str, *, distributed: bool) -> str:
    """Return a statement of the poster, changed so that its commit doesn't wait for the disk."""
    text = load_statement(name, distributed=distributed)
    if DURABLE not in text:
        raise LookupError(f"{name}.sql has no {DURABLE}")
    return text.replace(DURABLE, FASTER)


def plant() -> None:
    """Plant the bug that the module's docstring describes."""
    replace(poster, "load_statement", statement_without_flush)


MUTANT = Mutant(
    "commits_without_flush",
    caught_as=("lost", "not linearizable"),
    provoked_by=("postgresql killed", "fail-over to the standby"),
    plant=plant,
)
