"""The SQL statements of the service, each in a file that can be pasted into psql.

A statement can have a variant for a distributed ledger (Citus): a file of the same name in `sql/distributed`, or text
after `--citus` in lines of the common file.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

_ON_CITUS: Final = re.compile(r"^( *)--citus (.*\n?)", re.MULTILINE)


@cache
def statement(name: str, *, distributed: bool = False) -> str:
    """Return the text of `sql/<name>.sql`, for one server or for a distributed ledger."""
    folder = files("saldo.store") / "sql"
    found, written = folder / f"{name}.sql", ""
    if distributed:
        other = folder / "distributed" / f"{name}.sql"
        found, written = (other if other.is_file() else found), r"\1\2"
    return _ON_CITUS.sub(written, found.read_text("utf-8")).strip()
