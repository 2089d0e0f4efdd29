"""The reference page of the events, generated from their schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from website.schemas import field_table

DIRECTORY: Final = Path(__file__).parents[1] / "docs/reference/events"

_BEGINNING: Final = """# Events

Saldo publishes each new user and each transaction, posted or refused, as a
[CloudEvent 1.0](https://cloudevents.io) in JSON. It also publishes an event when it disables a webhook. Each event is
delivered at least once, and the events of a user are delivered in order, to [RabbitMQ](../howto/consume-events.md), to
[webhooks](../howto/webhooks.md) and to subscribers of the [live stream](../howto/live-events.md). The live stream has
no events about webhooks.
"""


def page() -> str:
    """Return the page in Markdown, with the envelope and the data of each event."""
    document = json.loads((DIRECTORY / "asyncapi.json").read_text(encoding="utf-8"))
    keys = {
        message: channel["address"]
        for channel in document["channels"].values()
        if "." in channel["address"]
        for message in channel["messages"]
    }
    lines = [_BEGINNING]
    for path in sorted(DIRECTORY.glob("*.schema.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        lines += [
            *_event(schema, keys[_camel(path.name)]),
            f"JSON Schema: [{path.name}](events/{path.name})",
            "",
        ]
    lines += [
        "## AsyncAPI document",
        "",
        "[asyncapi.json](events/asyncapi.json) describes the exchange, the stream and the messages.",
        "",
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _camel(name: str) -> str:
    first, *others = name.removesuffix(".schema.json").split("-")
    return first + "".join(each.title() for each in others)


def _event(schema: dict[str, Any], key: str) -> list[str]:
    envelope = schema["properties"]
    return [
        *(f"## `{envelope['type']['const']}`", "", schema["description"], ""),
        f"The routing key in the exchange is `{key}`. `subject` is {envelope['subject']['description'][0].lower()}"
        f"{envelope['subject']['description'][1:]} `id` is {envelope['id']['description'][0].lower()}"
        f"{envelope['id']['description'][1:]}",
        "",
        "Fields of `data`:",
        "",
        *field_table(envelope["data"], optional=False),
    ]
