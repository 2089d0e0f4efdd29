"""Code of the recipes in `docs/recipes`, in three languages, each block with the output that is printed after it."""

from __future__ import annotations

import re
import subprocess
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final, NamedTuple

DIRECTORY: Final = Path(__file__).parents[2] / "docs/recipes"
PAGES: Final = sorted(path.stem for path in DIRECTORY.glob("*.md") if path.name != "README.md")
URLS: Final = ("http://localhost:8000", "http://127.0.0.1:8000")
"""Addresses of the service on the pages."""
SECONDS_MAX: Final = 120

_CODE_BLOCK: Final = re.compile(r"```(\w+)\n(.*?)```\n", re.DOTALL)
_VARYING: Final = (
    # Uuids of version 5 are derived from names, so they do not vary.
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-46-8][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|\+00:00)"), "TIME"),
    (re.compile(r'("(?:id|user_id)":)\d+'), r"\1ID"),
    (re.compile(r"\d+\.\d s\b"), "SECONDS"),
    (re.compile(r"[\d,]+ rows/s"), "RATE"),
)


class Language(NamedTuple):
    """A language of the recipes.

    Attributes:
        suffix: The suffix of a program's file.
        marker: A statement that prints a text; `%` is replaced by the text.
        command: The command that runs a program.
    """

    suffix: str
    marker: str
    command: tuple[str, ...]


LANGUAGES: Final = {
    "sh": Language("sh", 'echo "%"', ("bash", "-euo", "pipefail")),
    "python": Language("py", 'print("%", flush=True)', ("python3",)),
    "js": Language("mjs", 'console.log("%")', ("node",)),
}


class CodeBlock(NamedTuple):
    """A block of code, and the output that the page prints after it, if it does."""

    language: str
    code: str
    output: str | None


def read_blocks(page: str) -> list[CodeBlock]:
    """Return the blocks of code of a page, in order."""
    blocks: list[CodeBlock] = []
    for language, text in _CODE_BLOCK.findall((DIRECTORY / f"{page}.md").read_text("utf-8")):
        if language in LANGUAGES:
            blocks.append(CodeBlock(language, text, None))
        else:
            assert language == "text", f"{page}: no test runs a block of the language {language}"
            assert blocks and blocks[-1].output is None, f"{page}: output without code: {text}"
            blocks[-1] = blocks[-1]._replace(output=text)
    return blocks


def run_blocks(
    name: str, blocks: list[CodeBlock], directory: Path, environment: dict[str, str], url: str
) -> list[str]:
    """Run blocks in their order, and return the output of each on stdout.

    Consecutive blocks of one language run in one process, so they share their variables.
    """
    outputs: list[str] = []
    for number, (key, group) in enumerate(groupby(blocks, key=lambda block: block.language)):
        codes = [replace_urls(block.code, url) for block in group]
        language = LANGUAGES[key]
        program = directory / f"{name}-{number}.{language.suffix}"
        marks = [f"--- end of block {index} ---" for index in range(len(codes))]
        program.write_text(
            "".join(
                f"{code}\n{language.marker.replace('%', mark)}\n"
                for code, mark in zip(codes, marks, strict=True)
            ),
            "utf-8",
        )
        done = subprocess.run(
            [*language.command, program.name],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{program.name}\n{done.stdout}\n{done.stderr}"
        rest = done.stdout
        for mark in marks:
            output, _, rest = rest.partition(f"{mark}\n")
            outputs.append(output)
    return outputs


def replace_urls(code: str, url: str) -> str:
    """Return code whose addresses of the service are replaced by another one."""
    for printed in URLS:
        code = code.replace(printed, url)
    return code


def normalize(output: str) -> list[str]:
    """Return the lines of an output, with random uuids, ids, times and rates replaced."""
    for pattern, word in _VARYING:
        output = pattern.sub(word, output)
    return [line.rstrip() for line in output.splitlines() if line.strip()]


def find_repeated_languages(blocks: list[CodeBlock]) -> list[str]:
    """Return the languages whose blocks are not consecutive, and so would not share their variables."""
    starts = [blocks[0].language] + [
        after.language for before, after in pairwise(blocks) if before.language != after.language
    ]
    return sorted({each for each in starts if starts.count(each) > 1})
