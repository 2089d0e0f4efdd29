"""Make the pages that come from the code anew, and build the site.

Its pages work from the disk, too, and need nothing from elsewhere."""

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
    """Writes the site to `output`/site, of pages put together in `output`/pages; a warning is an error.

    Returns:
        The exit code of the generator.

    Raises:
        PagesError: a link leads to nothing.
    """
    shutil.rmtree(output, ignore_errors=True)
    assemble(output / "pages")
    # The generator finds everything beside its configuration.
    shutil.copy(CONFIGURATION, output / CONFIGURATION.name)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=output, check=False).returncode  # noqa: S603


def main() -> int:
    """Builds the site, and says where it is."""
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
