"""Three linters find nothing in the OpenAPI document, in its form of 3.1 and in that of 3.0."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from tests.generators.programs import NODE_PACKAGES, SOURCES, run

PATHS = ("/openapi.json", "/openapi-3.0.json")

VALIDATORS = {"3.1": OpenAPIV31SpecValidator, "3.0": OpenAPIV30SpecValidator}


@pytest.fixture(params=PATHS)
async def document(request: pytest.FixtureRequest, api: httpx.AsyncClient) -> dict[str, Any]:
    """The document in one of its forms."""
    found: dict[str, Any] = (await api.get(request.param)).json()
    return found


@pytest.fixture
def path(document: dict[str, Any], tmp_path: Path) -> Path:
    """A file with the document."""
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    return file


async def test_document_is_valid(document: dict[str, Any]) -> None:
    validator = VALIDATORS[document["openapi"][:3]](document)
    assert [error.message for error in validator.iter_errors()] == []


@pytest.mark.long
async def test_redocly_finds_nothing(path: Path) -> None:
    redocly = NODE_PACKAGES.find("redocly")
    # A warning is a finding, too.
    output = run(redocly, "lint", "--extends=recommended", path.name, directory=path.parent)
    assert re.search(r"You have \d+ warning", output) is None, output


@pytest.mark.long
async def test_spectral_finds_nothing(path: Path) -> None:
    spectral = NODE_PACKAGES.find("spectral")
    rules = SOURCES / "spectral.yaml"
    options = ("--fail-severity=hint", "--ruleset", rules)
    run(spectral, "lint", *options, path.name, directory=path.parent)


@pytest.mark.long
async def test_linters_find_a_fault(api: httpx.AsyncClient, tmp_path: Path) -> None:
    """Check the linters with a fault that the document once had: an example with a field that does not exist."""
    document = (await api.get(PATHS[0])).json()
    response = document["components"]["responses"]["UnexpectedError"]
    for example in response["content"]["application/problem+json"]["examples"].values():
        example["id"] = "not_http"
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    assert [*OpenAPIV31SpecValidator(document).iter_errors()]
    with pytest.raises(AssertionError, match="`id`"):
        await test_redocly_finds_nothing(path)
    with pytest.raises(AssertionError, match="unevaluated"):
        await test_spectral_finds_nothing(path)
