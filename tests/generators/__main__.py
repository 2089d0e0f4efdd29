"""Installs the programs of other projects: `python -m tests.generators`."""

from __future__ import annotations

from tests.generators.programs import install

if __name__ == "__main__":
    install()
