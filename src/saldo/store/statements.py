"""The SQL statements of the service, each in a file that can be pasted into psql.

Each folder of `sql` has the name of a subject, such as `users`. A statement can have a variant for a distributed ledger
(Citus): a file `<name>.citus.sql` beside `<name>.sql`, or text after `--citus` in lines of the common file.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

_ON_CITUS: Final = re.compile(r"^( *)--citus (.*\n?)", re.MULTILINE)


@cache
def load_statement(name: str, *, distributed: bool = False) -> str:
    """Return the text of `sql/<name>.sql`, for one server or for a distributed ledger.

    Args:
        name: The path of the file in `sql`, without the suffix, such as `users/create`.
    """
    folder = files("saldo.store") / "sql"
    file, replacement = folder / f"{name}.sql", ""
    if distributed:
        variant = folder / f"{name}.citus.sql"
        file, replacement = (variant if variant.is_file() else file), r"\1\2"
    return _ON_CITUS.sub(replacement, file.read_text("utf-8")).strip()
