"""The description of a planted bug, and the function that plants it in a process.

The code of the service does not refer to this package. A bug of the SQL function is planted in the database only. A bug
in Python is planted in each process when the process starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from torture.mutants.schema import Connection


def no_change() -> None:
    """Do nothing, because the bug is not in Python."""


def no_step(_: Connection) -> None:
    """Do nothing, because the bug is not in the database."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug.

    Attributes:
        name: the name of its file. The docstring of the file describes the bug, the harm, and the safeguards that were
            removed.
        caught_as: kinds of fault of the checker. The checker must find at least one of them.
        provoked_by: kinds of fault of the nemesis that reveal the bug, the most reliable first. Empty if the bug shows
            without a fault, because clients retry at two services.
        plant: runs in each process of the service before it begins to work.
        prepare: runs once on the ledger's database, as a superuser or the schema's owner.
    """

    name: str
    caught_as: tuple[str, ...]
    provoked_by: tuple[str, ...]
    plant: Callable[[], None] = no_change
    prepare: Callable[[Connection], None] = no_step


def replace(module: ModuleType, name: str, substitute: object) -> None:
    """Replace the object that a module refers to by this name.

    Raises:
        LookupError: the module has no such name any more, so the bug would not be planted.
    """
    if not hasattr(module, name):
        raise LookupError(f"{module.__name__} has no {name}")
    setattr(module, name, substitute)
