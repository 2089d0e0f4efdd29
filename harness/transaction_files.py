"""Files of transactions for imports, and the expected result of importing them."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

COLUMNS = ("uuid", "type", "amount", "user_id", "timestamp")

Line = tuple[str, str, str, str, str]


def deposits(count: int, users: Sequence[str], *, seed: int = 1) -> list[Line]:
    """Return deposits of different amounts, with timestamps in the past. The users take turns."""
    draw = random.Random(seed)
    return [
        (
            str(UUID(int=draw.getrandbits(128), version=4)),
            "DEPOSIT",
            f"{draw.randrange(1, 10_000_000) / 100:.2f}",
            users[place % len(users)],
            f"2026-{place % 9 + 1:02}-{place % 27 + 1:02}T12:00:00.{place % 1_000_000:06}+00:00",
        )
        for place in range(count)
    ]


def write_csv(path: Path, lines: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> Path:
    """Write the file with its header line."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(lines)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of the file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
