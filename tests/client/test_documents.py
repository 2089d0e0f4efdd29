"""Every block of Python in the documentation runs as printed."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from harness.program.service import ServiceProcess
from saldo import Client
from tests.client.documents import blocks


def test_code_of_the_how_to_runs(shared_service: ServiceProcess) -> None:
    found = blocks("docs/howto/python-client.md", shared_service.url)
    assert len(found) >= 8
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for code in found:
            exec(compile(code, "docs/howto/python-client.md", "exec"), names)
    names["test_a_shop_is_paid"]()
    for value in names.values():
        if isinstance(value, Client):
            value.close()


def test_both_quick_starts_are_the_same() -> None:
    url = "http://localhost:8000"
    codes = [code for name in ("README.md", "README.ru.md") for code in blocks(name, url)]
    assert len(codes) == 2
    english, russian = (re.sub(r"customer-4712 [0-9a-f-]*", "", code) for code in codes)
    assert english == russian
    assert len([line for line in english.splitlines() if line]) == 6
