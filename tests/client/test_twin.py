"""The synchronous client is generated from the asynchronous one and up to date."""

from __future__ import annotations

import pytest

from tests.client.twin import CLIENT, MODULES, generate_module


@pytest.mark.parametrize("module", MODULES)
def test_synchronous_client_is_up_to_date(module: str) -> None:
    text = (CLIENT / "synchronous" / f"{module}.py").read_text("utf-8")
    assert text == generate_module(module), "run: python -m tests.client.twin"


def test_only_concurrency_is_written_by_hand() -> None:
    for side in ("asynchronous", "synchronous"):
        names = {path.stem for path in (CLIENT / side).glob("*.py")}
        assert names == {*MODULES, "concurrency", "__init__"}
