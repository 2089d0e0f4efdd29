"""JSON encoding: one encoder only, which escapes the characters that some clients take for a line end."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import saldo
from saldo.encoding.json import encode_json, encode_json_lines
from saldo.http import problems
from saldo.http.framework_responses import JsonResponse
from saldo.parsing.faults import InvalidField

SOURCE = Path(saldo.__file__).parent

OF_ITS_OWN = {
    # Requests, which the service parses as any JSON.
    *("client/payloads.py", "client/endpoints.py"),
    # Files that only the command that wrote them reads.
    *("cli/verify_files.py", "cli/state_file.py", "cli/exporting/sources.py"),
    "encoding/json.py",
}
"""Modules that may encode JSON by themselves."""

TEXT = st.text('a\u2028\u2029\x85\r\n\x0b\x0c\x1c\x1e"\\é\U0001f600', max_size=6)
VALUES = TEXT | st.lists(TEXT, max_size=3) | st.dictionaries(TEXT, TEXT, max_size=3)


@given(VALUES)
def test_a_value_is_one_line_for_every_reader_and_stays_the_same(value: Any) -> None:
    encoded = encode_json(value)
    assert len(encoded.decode().splitlines()) == 1
    assert json.loads(encoded) == value


@given(st.lists(VALUES, max_size=5))
def test_lines_are_as_many_as_values(values: list[Any]) -> None:
    text = encode_json_lines(values).decode()
    assert [json.loads(line) for line in text.splitlines()] == values


def test_problems_and_responses_use_the_encoder() -> None:
    fault = InvalidField("amount", "is \u2028\u2029\x85")
    bodies = [
        problems.build_invalid([fault]).build_response("id").body,
        JsonResponse({"name": fault.message}).render({"name": fault.message}, "application/json"),
    ]
    for body in bodies:
        assert body.isascii()
        assert fault.message in json.dumps(json.loads(body), ensure_ascii=False)


def test_nothing_else_encodes_json() -> None:
    """Search the source for other encoders, which would not escape the line ends."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        module = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""
            if name.endswith(("json.encode", "json.Encoder", "json.dumps", "json.dump")):
                found.add(module)
            # The framework encodes content that is not bytes by itself. The client has a class of the same name.
            if isinstance(node, ast.Call) and not module.startswith("client/"):
                function = ast.unparse(node.func)
                content = node.args[0] if node.args else None
                text = "" if content is None else ast.unparse(content)
                if function == "Response" and not text.startswith(
                    ("encode_json(", "text.encode(", "b'", "answer.body", "body", "_START.encode(")
                ):
                    found.add(f"{module}: Response({text})")
    assert found == OF_ITS_OWN
