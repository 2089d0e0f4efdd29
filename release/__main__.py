"""The command that builds the files of a release in one directory; see docs/howto/release.md.

A release has the wheel and the source distribution, a bill of materials (CycloneDX) and the requirements with hashes of
an installation with all features, `SHA256SUMS` over all of these, and its signature if a key is given.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from release import artifacts, image
from release.artifacts import ReleaseError


def main() -> int:
    """Run the command, and print the path of each file.

    Returns:
        0 if all files were built, otherwise 1.
    """
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=artifacts.ROOT / "dist",
        help="directory; files of an earlier release in it are removed",
    )
    parser.add_argument("--signing-key", type=Path, help="an SSH private key that signs SHA256SUMS")
    parser.add_argument(
        "--image", action="store_true", help="also save the image `slim`, which Podman builds"
    )
    options = parser.parse_args()
    output: Path = options.output.absolute()
    try:
        os.environ["SOURCE_DATE_EPOCH"] = artifacts.commit_time()
        artifacts.empty_directory(output)
        wheel = artifacts.build_distributions(output)
        with tempfile.TemporaryDirectory(prefix="saldo-release-") as scratch:
            artifacts.describe_installation(wheel, Path(scratch), output)
        if options.image:
            image.save_image(output)
        sums = artifacts.write_sums(output)
        if options.signing_key is not None:
            artifacts.sign(sums, options.signing_key)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"release: {error.cmd[0]} took longer than {error.timeout:.0f} s", file=sys.stderr)
        return 1
    for path in sorted(output.iterdir()):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
