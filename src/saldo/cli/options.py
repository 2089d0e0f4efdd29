"""Options and arguments that several commands have, with one wording."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="JSON on stdout: a document, or one a line for lists.")
]
UserId: TypeAlias = Annotated[
    int, typer.Argument(help="The user's id (`saldo user list`).", min=1, max=2**63 - 1)
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option("--from", help="Effective from then on: 2026-01-31, 2026-01-31T12:30:00+03:00."),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--to", help="Effective before then; that moment is left out.")
]
