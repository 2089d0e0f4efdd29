"""Forgotten: that a commit is durable only once it is on the disk. The database confirms it from memory.

Harm: a database that is killed forgets what was acknowledged within the last moments; a service that is killed alone
loses nothing.
Fence taken down: the `synchronous_commit` that `post.sql` sets for its own transaction, whatever the server's is.
"""

from __future__ import annotations

from saldo.store import poster
from saldo.store.statements import statement
from torture.mutants.mutant import Mutant, replace

DURABLE, FASTER = "ELSE 'on' END", "ELSE 'off' END"


def hurried(name: str, *, distributed: bool) -> str:
    """A statement of the poster that waits for no disk."""
    text = statement(name, distributed=distributed)
    if DURABLE not in text:
        raise LookupError(f"{name}.sql has no {DURABLE}")
    return text.replace(DURABLE, FASTER)


def plant() -> None:
    """See the file."""
    replace(poster, "statement", hurried)


MUTANT = Mutant(
    "commits_without_flush",
    caught_as=("lost", "not linearizable"),
    provoked_by=("postgresql killed", "fail-over to the standby"),
    plant=plant,
)
