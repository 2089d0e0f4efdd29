"""The SQL of the service, each statement a file that pastes into psql.

A ledger that is distributed (Citus) is asked in other words where it must be: by a file of the same name in
`sql/distributed`, or by what stands behind `--citus` in a line of the one file.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

_ON_CITUS: Final = re.compile(r"^( *)--citus (.*\n?)", re.MULTILINE)


@cache
def statement(name: str, *, distributed: bool = False) -> str:
    """The text of `sql/<name>.sql`, for one machine or for a distributed ledger."""
    folder = files("saldo.store") / "sql"
    found, written = folder / f"{name}.sql", ""
    if distributed:
        other = folder / "distributed" / f"{name}.sql"
        found, written = (other if other.is_file() else found), r"\1\2"
    return _ON_CITUS.sub(written, found.read_text("utf-8")).strip()
