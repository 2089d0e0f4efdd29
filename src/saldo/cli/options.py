"""Options and arguments that several commands share, with the same help texts."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Json: TypeAlias = Annotated[
    bool,
    typer.Option("--json", help="Print JSON to stdout: one document, or one per line for lists."),
]
UserId: TypeAlias = Annotated[
    int, typer.Argument(help="Id of the user, as shown by `saldo user list`.", min=1, max=2**63 - 1)
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Only transactions that take effect at this time or later, such as 2026-01-31 or "
        "2026-01-31T12:30:00+03:00.",
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option("--to", help="Only transactions that take effect before this time.")
]
