"""Lower the recorded numbers to the current counts, or print the faults: `--list [NAME [PACKAGE ...]]`."""

from __future__ import annotations

import sys

from tests.style.ratchets import RATCHETS, find, lower


def main(arguments: list[str]) -> int:
    """Run the command. The exit code is 1 if a number has risen."""
    if arguments[:1] == ["--list"]:
        wanted, packages = arguments[1:2] or list(RATCHETS), arguments[2:]
        for name in wanted:
            for package, places in sorted(find(name).items()):
                if not packages or package in packages:
                    print(*(f"{name} {place}" for place in places), sep="\n")
        return 0
    risen = lower()
    print(*risen, sep="\n")
    return 1 if risen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
