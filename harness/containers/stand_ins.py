"""Images built from Debian's packages, under the names of the images that the Dockerfile and compose.yaml use.

They exist because CI reaches no image registry. Each has what our files rely on: the paths of the programs, the user
ids, the entry point's variables and the volumes. The versions are Debian's and differ from those of the tags. Grafana
is not in Debian, so there is no image for it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

from harness.containers.engine import SECONDS_MAX, Engine

SUITE: Final = "bookworm"
BASE: Final = "localhost/stand-in/base"
SERVICES: Final = "localhost/stand-in/services"

INCLUDED: Final = "python3.11,python3.11-venv,ca-certificates"

PYTHON: Final = f"""
FROM {BASE}
RUN ln -s /usr/bin/python3.11 /usr/local/bin/python && rm -f /usr/lib/python3.11/EXTERNALLY-MANAGED \\
 && cd /usr/share/python-wheels && PYTHONPATH=$(echo "$PWD"/pip-*.whl) \\
    python -m pip install --quiet --no-index --root-user-action=ignore --no-deps ./pip-*.whl ./setuptools-*.whl
CMD ["python"]
"""
"""The image has pip and ensurepip, as Python's image does, so that the Dockerfile can remove both."""

INSTALLED: Final = f"""
FROM {BASE}
ENV LANG=C.UTF-8
RUN echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io \\
 && printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \\
 && mkdir /etc/postgresql-common \\
 && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \\
 && apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \\
    postgresql rabbitmq-server prometheus wget && ln -s /usr/lib/postgresql/*/bin /opt/postgresql
"""

POSTGRES: Final = f"""
FROM {SERVICES}
ENV PATH=/opt/postgresql:$PATH PGDATA=/var/lib/postgresql/data
RUN groupmod --gid 999 postgres && usermod --uid 999 postgres && install -d /docker-entrypoint-initdb.d \\
 && install -d -o 999 -g 999 -m 0700 "$PGDATA" && install -d -o 999 -g 999 -m 3777 /var/run/postgresql
COPY entrypoint /usr/local/bin/entrypoint
ENTRYPOINT ["/usr/local/bin/entrypoint"]
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
"""

ENTRYPOINT: Final = r"""#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-c listen_addresses=''"
    for script in /docker-entrypoint-initdb.d/*; do "$script"; done
    pg_ctl -w stop
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
fi
exec "$@"
"""
"""An entry point that treats the variables and the directory of compose.yaml as that of PostgreSQL's image does."""

RABBITMQ: Final = f"""
FROM {SERVICES}
ENV PATH=/usr/lib/rabbitmq/bin:$PATH HOME=/var/lib/rabbitmq RABBITMQ_LOGS=-
RUN groupmod --gid 999 rabbitmq && usermod --uid 999 rabbitmq && rm -rf /var/lib/rabbitmq /var/log/rabbitmq \\
 && install -d -o 999 -g 999 -m 0777 /var/lib/rabbitmq /var/log/rabbitmq
VOLUME /var/lib/rabbitmq
CMD ["rabbitmq-server"]
"""

PROMETHEUS: Final = f"""
FROM {SERVICES}
RUN install -d -o 65534 -g 65534 /prometheus && install -d /etc/prometheus
ENTRYPOINT ["/bin/prometheus"]
VOLUME /prometheus
"""

FILES: Final = {
    "python": PYTHON,
    "postgres": POSTGRES,
    "rabbitmq": RABBITMQ,
    "prom/prometheus": PROMETHEUS,
}
"""The build of each image, by the name without its tag."""

LEFT_OUT: Final = frozenset({"grafana/grafana"})
"""Images of which Debian has no programs."""

_KEPT: Final = frozenset({"cert", "extra-index-url", "find-links", "index-url", "trusted-host"})
"""Settings of pip that say where packages come from."""


def complete_name(image: str) -> str:
    """Return the name of an image with the registry that Docker assumes."""
    return f"docker.io/{image if '/' in image else f'library/{image}'}"


def prepare_base(engine: Engine) -> None:
    """Install a minimal Debian, and import it as an image, unless the storage has it."""
    if engine.succeeds("image", "exists", BASE):
        return
    archive = engine.directory / "base.tar"
    done = subprocess.run(
        ["mmdebstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(archive)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stdout
    engine.run("import", str(archive), BASE)
    archive.unlink()


def prepare(engine: Engine, image: str) -> None:
    """Build the image that stands for one of a registry, unless the storage has it.

    Args:
        engine: The engine, whose storage gets the image.
        image: The name in the Dockerfile or in compose.yaml, with its tag.
    """
    name = image.partition(":")[0]
    if engine.succeeds("image", "exists", complete_name(image)):
        return
    prepare_base(engine)
    if name != "python" and not engine.succeeds("image", "exists", SERVICES):
        _build(engine, SERVICES, INSTALLED)
    _build(engine, complete_name(image), FILES[name])


def _build(engine: Engine, name: str, text: str) -> None:
    context = engine.directory / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(dedent(text))
    (context / "entrypoint").write_text(ENTRYPOINT)
    (context / "entrypoint").chmod(0o755)
    engine.run(
        "build", "--pull=never", "--network=host", "--format=docker", "--tag", name, str(context)
    )


def find_package_mounts(directory: Path) -> list[str]:
    """Return the mounts with which pip finds packages during a build as it does on this machine.

    Python's image knows only the public index. A machine may use another one, or need a certificate for it.

    Args:
        directory: An existing directory, for the file with the settings.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    # Settings of the environment are listed first, and have priority.
    settings: dict[str, str] = {}
    for name, value in re.findall(r"^\S+\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
        if name in _KEPT:
            settings.setdefault(name, value)
    file = directory / "pip.conf"
    file.write_text(
        "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in settings.items())])
    )
    mounts = [f"{file}:/etc/pip.conf:ro"]
    for word in " ".join(settings.values()).split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            # An index on disk refers to files beside it.
            path = path.parent if path.is_dir() and path.name == "simple" else path
            mounts.append(f"{path}:{path}:ro")
    return mounts
