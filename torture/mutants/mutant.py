"""What a planted bug is, and how it gets into a process. Nothing of the service knows of this.

A bug of the SQL function is planted in the database alone; one of Python, in each process as it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from torture.mutants.schema import Connection


def no_change() -> None:
    """The bug is not in Python."""


def no_step(_: Connection) -> None:
    """The bug is not in the database."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug.

    Attributes:
        name: that of its file, whose docstring says what is forgotten, the harm, and the fences that were taken down.
        caught_as: what the checker is expected to tell, by its kinds: any of these.
        provoked_by: what the nemesis has to do for that, by its kinds: any of these, the surest first; nothing: clients
            that send again, at two services, are enough.
        plant: run in each process of the service before it begins to work.
        prepare: run once on the ledger's database, by a superuser or the schema's owner.
    """

    name: str
    caught_as: tuple[str, ...]
    provoked_by: tuple[str, ...]
    plant: Callable[[], None] = no_change
    prepare: Callable[[Connection], None] = no_step


def replace(module: ModuleType, name: str, substitute: object) -> None:
    """Puts something else in the place of what the module calls by this name.

    Raises:
        LookupError: there is no such name any more, and the bug would not be planted.
    """
    if not hasattr(module, name):
        raise LookupError(f"{module.__name__} has no {name}")
    setattr(module, name, substitute)
