"""Nobody keeps two clients in step by hand."""

from __future__ import annotations

import pytest

from tests.client.twin import CLIENT, MODULES, made


@pytest.mark.parametrize("module", MODULES)
def test_the_client_for_ordinary_code_is_as_it_is_made(module: str) -> None:
    text = (CLIENT / "synchronous" / f"{module}.py").read_text("utf-8")
    assert text == made(module), "run: python -m tests.client.twin"


def test_the_modules_by_hand_are_few() -> None:
    for side in ("asynchronous", "synchronous"):
        names = {path.stem for path in (CLIENT / side).glob("*.py")}
        assert names == {*MODULES, "running", "__init__"}
