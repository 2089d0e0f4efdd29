"""Data directories with a cluster that is copied from a template, which takes a tenth of the CPU time of `initdb`.

The first start on an empty directory is tested in `tests/integration/database/test_embedded.py` and by the commands of
the documentation; other tests only need a directory on which it has been done.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from saldo.store.embedded import EmbeddedServer

_templates: dict[int, EmbeddedServer] = {}

_making: Final = threading.Lock()


def create(data_dir: Path) -> None:
    """Create a data directory with the cluster that a first start creates."""
    cluster = _template().cluster
    data_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", cluster, data_dir / cluster.name], check=True)


def create_for_service(directory: Path, settings: Mapping[str, str]) -> None:
    """Create the data directory that `saldo serve` would create in its working directory, unless the settings or a
    `.env` file there may name a database."""
    data_dir = directory / settings.get("SALDO_DATA_DIR", "data")
    named = "SALDO_DATABASE_URL" in settings or (directory / ".env").exists()
    if not named and not data_dir.exists():
        create(data_dir)


def _template() -> EmbeddedServer:
    """Return the server whose data directory is the template of this process. The server does not run."""
    with _making:
        if os.getpid() not in _templates:
            directory = Path(tempfile.mkdtemp(prefix="saldo-template-"))
            atexit.register(shutil.rmtree, directory, ignore_errors=True)
            server = EmbeddedServer(directory)
            server.start()
            server.stop()
            _templates[os.getpid()] = server
        return _templates[os.getpid()]
