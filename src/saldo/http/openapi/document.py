"""The OpenAPI document, in the form that client generators accept."""

from __future__ import annotations

from typing import Any

from litestar import Litestar


def build_openapi_document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the application.

    The framework's document is corrected in two ways. Its examples have a field `id`, which is not part of the
    specification, so strict generators reject the document. Its integers have no format, so generators for Go, Java,
    Rust and C# use 32 bits. Ids, numbers and amounts in minor units need 64 bits.
    """
    document: dict[str, Any] = app.openapi_schema.to_schema()
    _correct_schema(document)
    return document


def _correct_schema(part: Any) -> None:
    if isinstance(part, list):
        for item in part:
            _correct_schema(item)
        return
    if not isinstance(part, dict):
        return
    examples = part.get("examples")
    if isinstance(examples, dict):
        # The values of examples are data, not parts of the document.
        for example in examples.values():
            example.pop("id", None)
    types = part.get("type")
    if types == "integer" or (isinstance(types, list) and "integer" in types):
        part.setdefault("format", "int64")
    for name, item in part.items():
        if name not in ("examples", "example", "default", "enum", "const"):
            _correct_schema(item)
