"""The check of phrases: it finds the banned ones in the texts that users read."""

from __future__ import annotations

import pytest

from tests.style.phrases import in_module, in_page, in_text, visible_strings
from tests.style.source import parse

BANNED = [
    ("Whoever reaches the port is served.", "whoever"),
    ("Fix the file, or mend it.", "mend"),
    ("To post it, begin anew.", "anew"),
    ("The wait is bounded by what others waited.", "by what"),
    ("Time of effect. Not given: now.", "a condition without a verb"),
    ("Port; 0: a free one.", "a condition without a verb"),
    ("Without a key, let nobody in.", "let in"),
    ("The key is about some users only.", "is about"),
    ("The rules are held against a model.", "hold against"),
    ("A browser that came by TLS.", "come by"),
    ("The service tells the balance.", "tell"),
    ("A proxy that speaks HTTP/1.1.", "speak"),
    ("The old state is forgotten.", "forget"),
    ("It prints a summary at its end.", "at its end"),
    ("A way for who has no shell.", "preposition and who"),
    ("Who asks must not ask for this.", "who as a subject"),
    ("The answer ends; what follows is lost.", "what as a subject"),
    ("Those that there are not are left out.", "those that there are"),
]
ACCEPTED = [
    "Anyone who reaches the port is served.",
    "It takes about 10 ms, and is about 284 bytes long.",
    "The lag is about to grow, and it is about a third of the limit.",
    "Who decides? The database does.",
    "What does a retry cost? Nothing.",
    "Two events are told apart by their ids.",
    "A default of 0 means that nothing is logged.",
    "The setting `SALDO_TIMEZONE` is not set: the zone of the machine counts.",
    "Recommend, amend and commend are other words.",
    "Users are let in the order of arrival.",
    "The person who posts sees what was posted.",
]


@pytest.mark.parametrize(("text", "name"), BANNED)
def test_a_banned_phrase_is_found(text: str, name: str) -> None:
    assert [found for _, found in in_text(text)] == [name]


@pytest.mark.parametrize("text", ACCEPTED)
def test_other_text_is_accepted(text: str) -> None:
    assert not [*in_text(text)]


def test_a_page_is_read_across_lines_and_without_its_code() -> None:
    page = (
        "# What a key opens\n\nA key is\nabout users. See [`whoever`](whoever.md).\n\n"
        "```sh\nwhoever\n```\n\n- Let\n  nobody in.\n"
    )

    assert [
        (place.line, place.text.partition(":")[0]) for place in in_page("docs/howto/a.md", page)
    ] == [
        (3, "is about"),
        (10, "let in"),
    ]


def test_comments_of_a_configuration_file_are_read() -> None:
    (place,) = in_page(".env.sample", "# A port\n# to listen on; 0: a free one.\nSALDO_PORT=8000\n")

    assert (place.package, place.line) == ("top", 2)


SOURCE = '''
"""Whoever reads this is a developer."""

NAME = "whoever"

LIMIT = Field(1, description="a setting, "
    "in two parts")

ROUNDS = Counter("saldo_rounds", "a metric", ["label"])

@app.command()
def run(port: int = typer.Option(1, "--port", help="an option")) -> None:
    """a command"""
    logger.warning("a line of the log", extra="whoever")
    typer.echo(f"printed {port} times")
    raise RunError(f"raised {port}")

@get("/v1/user", summary="a summary")
def route() -> None:
    """a route"""

def inner() -> None:
    """internal"""
'''


def test_the_strings_that_users_read_are_these() -> None:
    texts = {text for _, text in visible_strings(parse("src/saldo/cli/run.py", SOURCE))}

    assert texts == {
        "a setting, in two parts",
        "a metric",
        "an option",
        "a command",
        "a line of the log",
        "printed … times",
        "raised …",
        "a summary",
        "a route",
    }


def test_all_texts_of_the_problems_and_of_the_console_are_read() -> None:
    module = parse(
        "src/saldo/http/problems.py", '"""Internal."""\nTITLES = {"a": "Whoever asks"}\n'
    )

    assert [str(place) for place in in_module(module)] == [
        "src/saldo/http/problems.py:2: whoever: Whoever asks"
    ]
