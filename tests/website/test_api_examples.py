"""The example calls of the API reference are made as printed, and the responses compared with the printed ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.website.api_examples import make_calls
from website.api_examples import PROBLEM, read_responses

_VARYING_NAMES = {
    "request_id",
    "instance",
    "id",
    "time",
    "path",
    "root",
    "hash",
    "previous",
    "last_seq",
    "leaf_index",
}
"""Names of members whose values differ from run to run. Of the members `id`, only those of events are uuids."""

_VARYING = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00|(?<=id: )v1\.\S+|(?<=retry: )\d+|(?<=} )\d+\.0"
)


def test_example_calls_get_the_printed_responses(tmp_path: Path) -> None:
    printed = read_responses()
    actual = make_calls(tmp_path)
    assert actual.keys() == printed.keys()
    for operation, response in actual.items():
        assert _normalize(response) == _normalize(printed[operation]), operation
    assert json.loads(printed[PROBLEM])["errors"][0]["field"] == "amount"


def test_a_changed_member_is_found() -> None:
    printed = read_responses()
    transaction = printed["POST /v1/transaction"]
    assert _normalize(transaction) != _normalize(transaction.replace("100.00", "100"))
    assert _normalize(transaction) != _normalize(transaction.replace("recorded_at", "recorded"))
    proof = printed["GET /v1/proof/{uuid}"]
    assert _normalize(proof) != _normalize(proof.replace("leaf_index", "leaf"))


def _normalize(response: str) -> list[Any]:
    """Return a response, or each line of it, without the values that differ from run to run."""
    lines = [_VARYING.sub("…", line).removeprefix("data: ") for line in response.splitlines()]
    return [_remove_varying(json.loads(line)) if line[:1] == "{" else line for line in lines]


def _remove_varying(value: Any) -> Any:
    if isinstance(value, list):
        return [_remove_varying(each) for each in value]
    if isinstance(value, dict):
        return {
            name: type(each).__name__ if name in _VARYING_NAMES else _remove_varying(each)
            for name, each in value.items()
        }
    return value
