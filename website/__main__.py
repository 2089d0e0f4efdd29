"""The command that regenerates the reference pages and builds the site.

The site can be read from the disk, and it loads nothing from other servers."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from website import generated
from website.pages import ROOT, PagesError, assemble

CONFIGURATION = Path(__file__).with_name("zensical.toml")


def build(output: Path) -> int:
    """Build the site in `output`/site from pages that are assembled in `output`/pages. Warnings are errors.

    Returns:
        The exit code of the generator.

    Raises:
        PagesError: The target of a link does not exist.
    """
    shutil.rmtree(output, ignore_errors=True)
    assemble(output / "pages")
    # The generator resolves paths relative to its configuration file.
    shutil.copy(CONFIGURATION, output / CONFIGURATION.name)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=output, check=False).returncode  # noqa: S603


def main() -> int:
    """Run the command, and print the path of the site."""
    parser = argparse.ArgumentParser(prog="python -m website", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build/website", help="a directory")
    output = parser.parse_args().output
    for name in generated.write(ROOT / "docs"):
        print(f"website: docs/{name} is new")
    try:
        code = build(output)
    except PagesError as error:
        print(f"website: {error}", file=sys.stderr)
        return 1
    if code == 0:
        print(f"website: {output / 'site/index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
