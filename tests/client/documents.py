"""The Python code in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from uuid import uuid4

ROOT: Final = Path(__file__).parents[2]


def blocks(document: str, url: str) -> list[str]:
    """Return each block of Python with the service's URL and with unique user names."""
    text = (ROOT / document).read_text("utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [
        re.sub(
            r'create_user\("([\w-]+)"\)',
            lambda match: f'create_user("{match[1]} {uuid4()}")',
            code.replace("http://localhost:8000", url),
        )
        for code in found
    ]
