"""The check of docstrings: it finds those that open with a fragment, and no others."""

from __future__ import annotations

import pytest

from tests.style.docstrings import first_sentence, fragments, is_fragment
from tests.style.source import parse

FRAGMENTS_OF_FUNCTIONS = [
    "What comes next.",
    "Whether an attempt that was answered so may have had an effect.",
    "Who may ask.",
    "Of a stream that was cut: the last line that was read.",
    "How long a head is.",
    "Those of these users that there are not.",
    "That an entry is in the log.",
    "As the parent's.",
    "For people: three or four digits that matter.",
    "Until nothing is left.",
    "Until it is cancelled; then call `stop`.",
    "When a request has ended.",
    "With the header.",
    "Not by urllib.",
    "The page, in Markdown.",
    "A value for people.",
    "An outcome for each uuid, in their order.",
    "The users that are known to the ledger.",
    "The requests of a batch.",
    "All locks of the transaction that waits.",
    "Users with greater ids, by id.",
    "404: no such user.",
    "None if there is none.",
    "One, or None.",
    "`errors`, the member.",
]
SENTENCES_OF_FUNCTIONS = [
    "Return the next entry.",
    "Returns the next entry.",
    "Retry the batch until it is decided.",
    "Query the shard.",
    "Tries the connection once.",
    "Has the server start.",
    "A retry is the caller's decision.",
    "The entry that is sealed is never read again.",
    "The query waits for the lock.",
    "Generated clients send any `Accept`, or none, and parse JSON, which is why this header is ignored.",
    "When a batch fails, the lane splits it.",
    "If the queue is full, raise an error.",
    "In a cluster, each worker has its own clock.",
    "Nothing is written.",
    "Args:\n    user_id: The user.",
    "Returns:\n    The number of entries.",
]
FRAGMENTS_OF_OTHERS = [
    "Of one request: more make each no faster.",
    "Between two of them.",
    "Between two looks, in seconds.",
    "What a subscriber gets.",
    "For a client that sends although it has its answer.",
    "Read from a file of another machine.",
    "Told at least once.",
    "In a row, before less is accepted.",
    "Where the settings are.",
    "Nor is this one.",
]
SENTENCES_OF_OTHERS = [
    "Maximum number of pages fetched per request.",
    "A batch of requests.",
    "The queue of a lane.",
    "Read timeouts, in seconds.",
    "Seconds between two polls.",
    "Limits queued requests, so that none waits longer than `wait_seconds_max`.",
    "For each shard, the last sealed entry is kept.",
    "Told apart by their ids, two events with one number are a fault.",
    "`POST /v1/transaction`.",
]


@pytest.mark.parametrize("text", FRAGMENTS_OF_FUNCTIONS)
def test_a_fragment_of_a_function_is_found(text: str) -> None:
    assert is_fragment(text, function=True)


@pytest.mark.parametrize("text", SENTENCES_OF_FUNCTIONS)
def test_a_sentence_of_a_function_is_accepted(text: str) -> None:
    assert not is_fragment(text, function=True)


@pytest.mark.parametrize("text", FRAGMENTS_OF_OTHERS)
def test_a_fragment_of_a_constant_or_a_class_is_found(text: str) -> None:
    assert is_fragment(text, function=False)


@pytest.mark.parametrize("text", SENTENCES_OF_OTHERS)
def test_a_noun_phrase_of_a_constant_or_a_class_is_accepted(text: str) -> None:
    assert not is_fragment(text, function=False)


def test_only_the_first_sentence_counts() -> None:
    assert first_sentence("Return\nthe id. Of what, nobody knows.") == "Return the id."
    assert first_sentence("Return the id\n\nOf what, nobody knows.") == "Return the id"
    assert not is_fragment("Return the id. Of what, nobody knows.", function=True)


PLANTED = '''
"""What the module is for."""

LIMIT = 1
"""Of one request."""

class Queue:
    """How requests wait."""

    size: int
    """As it was."""

    def take(self):
        """The next one."""

    @property
    def length(self):
        """The number of requests."""

    def put(self):
        """Add a request."""

    if True:
        async def wait(self):
            """Until there is one."""
'''


def test_every_place_of_a_docstring_is_read() -> None:
    found = fragments(parse("src/saldo/engine/queue.py", PLANTED))

    assert [(place.line, place.text, place.package) for place in found] == [
        (2, "What the module is for.", "saldo.engine"),
        (5, "Of one request.", "saldo.engine"),
        (8, "How requests wait.", "saldo.engine"),
        (11, "As it was.", "saldo.engine"),
        (14, "The next one.", "saldo.engine"),
        (25, "Until there is one.", "saldo.engine"),
    ]
