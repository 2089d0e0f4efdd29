"""The image of a release as an archive, and its bill of materials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot5
from packageurl import PackageURL

from release.artifacts import ROOT, run
from saldo.version import VERSION

TARGET: Final = "slim"
"""Target of the Dockerfile. Saldo runs in it with a separate PostgreSQL."""

NAME: Final = f"localhost/saldo:{VERSION}-{TARGET}"

_LIST_PACKAGES: Final = """
import importlib.metadata, json, subprocess
python = [[each.metadata["Name"], each.version] for each in importlib.metadata.distributions()]
lines = subprocess.run(
    ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\\\\n"],
    stdout=subprocess.PIPE, text=True, check=True,
).stdout
print(json.dumps({"python": python, "debian": [line.split() for line in lines.splitlines()]}))
"""
"""A program that runs in the image, and prints the packages of Python and of Debian."""


def save_image(output: Path) -> None:
    """Build the image, save it as an OCI archive, and write the list of the packages in it.

    Args:
        output: The directory of the release.

    Raises:
        ReleaseError: Podman is not installed, or one of its commands failed.
    """
    stem = f"saldo_ledger-{VERSION}-{TARGET}"
    # The same format as in docs/howto/containers.md: the OCI format has no health checks.
    build = ("podman", "build", "--format=docker", "--target", TARGET, "--tag", NAME)
    run("the image", *build, str(ROOT))
    archive = output / f"{stem}.oci.tar"
    run("the archive", "podman", "save", "--format=oci-archive", f"--output={archive}", NAME)
    listed = run(
        "the list of the image's packages",
        *("podman", "run", "--rm", "--network=none", "--read-only", "--entrypoint=python", NAME),
        *("-c", _LIST_PACKAGES),
    )
    # Warnings of Podman precede the line.
    bill = describe_packages(json.loads(listed.splitlines()[-1]))
    (output / f"{stem}.cdx.json").write_text(bill, encoding="utf-8")


def describe_packages(packages: dict[str, Any]) -> str:
    """Return a bill of materials in CycloneDX's format.

    Args:
        packages: Under `python`, pairs of name and version; under `debian`, also the architecture.
    """
    bom = Bom()
    bom.metadata.component = Component(
        name="saldo", version=f"{VERSION}-{TARGET}", type=ComponentType.CONTAINER
    )
    for name, version in packages["python"]:
        url = PackageURL("pypi", name=name.lower(), version=version)
        bom.components.add(Component(name=name, version=version, purl=url, bom_ref=str(url)))
    for name, version, architecture in packages["debian"]:
        qualifiers = {"arch": architecture}
        url = PackageURL("deb", "debian", name, version, qualifiers)
        bom.components.add(Component(name=name, version=version, purl=url, bom_ref=str(url)))
    bom.register_dependency(bom.metadata.component, bom.components)
    return JsonV1Dot5(bom).output_as_string(indent=2) + "\n"
