"""The table of the functions in force names, for each task, the file with the newest definition."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("saldo.store.schema.migrations") / "sql"))
_ROW = re.compile(r"^\| [^|]+ \| `saldo\.(\w+)` \| \[([\w.]+)\]\(([\w.]+)\) \|$", re.MULTILINE)
_DEFINITION = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION saldo\.(\w+)", re.MULTILINE)
_VERSION = re.compile(r"_(\d+)$")


def test_table_names_the_file_with_the_newest_version_of_every_function() -> None:
    rows = _ROW.findall((FOLDER / "README.md").read_text("utf-8"))
    assert all(text == target for _, text, target in rows)
    assert {function: file for function, file, _ in rows} == _newest_definitions()


def test_every_row_of_the_table_is_read() -> None:
    lines = (FOLDER / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| task ")]
    assert len(rows) == len(_ROW.findall("\n".join(lines))) > 0


def _newest_definitions() -> dict[str, str]:
    """Return the function of the highest version of each task, with the last file that defines it."""
    newest: dict[str, tuple[int, str, str]] = {}
    for file in sorted(FOLDER.glob("*.sql")):
        for function in _DEFINITION.findall(file.read_text("utf-8")):
            version = _VERSION.search(function)
            task = _VERSION.sub("", function)
            candidate = (0 if version is None else int(version[1]), file.name, function)
            newest[task] = max(newest.get(task, candidate), candidate)
    return {function: name for _, name, function in newest.values()}
