"""The image's build steps, run as they stand in the Dockerfile, and the installed programs, run as in the image."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

import httpx
import pytest

from harness.postgresql import databases
from tests.deploy.image import ROOT, Builder, stages

READY_SECONDS_MAX = 60
COMMAND_SECONDS_MAX = 120
USER = 10001
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ANY_PORT = {"SALDO_PORT": "0"}
NOTHING: Mapping[str, str] = {}

CONFINE = f"""
volume=$1 python=$2 hidden=$3 steps=$4 data=$5
shift 5
if [ -n "$hidden" ]; then
    cd "$python"
    mount -t tmpfs -o mode=0755 tmpfs "$hidden"
    mkdir -p "$python"
    mount --no-canonicalize --bind . "$python"
fi
mount -t tmpfs tmpfs /mnt
for changed in /etc /var/lib; do
    mkdir -p "/mnt$changed/upper" "/mnt$changed/work"
    mount -t overlay -o "lowerdir=$changed,upperdir=/mnt$changed/upper,workdir=/mnt$changed/work" overlay "$changed"
done
sed -i /^saldo:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow
bash -euo pipefail -c "$steps"
mount --bind "${{volume:-$data}}" "$data"
for closed in / /etc /var/lib; do mount -o remount,bind,ro "$closed"; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd "$data"
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs \\
    --bounding-set=-all --inh-caps=-all -- "$@"
"""
"""A script that confines a command like --read-only, --tmpfs, --cap-drop and no-new-privileges of Docker.

Before that, it runs the steps of the last stages on overlays of this machine's directories, which disappear with the
namespace. If only root can reach this machine's Python, it is mounted where the image's user can, because the base
image has one.
"""


class Container:
    """A runner of the image's commands in the image's environment.

    If the tests run as root, the commands run as the image's user, without capabilities, on a read-only file system.
    Then
    only /tmp and the volume are writable, both empty at first.
    """

    def __init__(
        self,
        venv: Path,
        directory: Path,
        environment: Mapping[str, str] = NOTHING,
        volume: Path | None = None,
    ) -> None:
        self._image = stages()["base"]
        self._environment = self._image.environment | {"SALDO_HOST": "127.0.0.1"}
        self._environment |= environment
        path = self._environment["PATH"].replace("/opt/saldo", str(venv))
        self._environment["PATH"] = path.replace("$PATH", SYSTEM_PATH)
        if os.geteuid() != 0:
            self._environment["SALDO_DATA_DIR"] = str(volume or directory)
        self._volume = volume
        self._directory = directory
        self._log = directory / f"{uuid4()}.log"
        self.port = 0

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command to its end, and return its exit code and its output."""
        return self.start(*arguments).wait(COMMAND_SECONDS_MAX), self.output()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the image's entry point with these arguments, by default with the image's own."""
        return self.start_other(
            *self._image.command("ENTRYPOINT"), *(arguments or self._image.command("CMD"))
        )

    def start_other(self, *command: str) -> subprocess.Popen[bytes]:
        """Start another program in place of the image's."""
        with self._log.open("wb") as log:
            return self._popen([*command], log)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Stop the process as Docker does, and return the exit code."""
        (name,) = self._image.values("STOPSIGNAL")
        process.send_signal(signal.Signals[name])
        return process.wait(COMMAND_SECONDS_MAX)

    def output(self) -> str:
        return self._log.read_text()

    def healthy(self) -> bool:
        """Run the image's health check; if it fails, it must print one line."""
        check = self._image.command("HEALTHCHECK")
        # The check is copied to the container's directory, because the repository may be in /tmp, which the container
        # replaces.
        shutil.copy(ROOT / "deploy/docker/healthy.py", self._directory)
        check = [part.replace("/usr/local/lib/saldo", str(self._directory)) for part in check]
        self._environment["SALDO_PORT"] = str(self.port)
        with tempfile.TemporaryFile() as output:
            code = self._popen(check, output).wait(COMMAND_SECONDS_MAX)
            output.seek(0)
            written = output.read().decode()
        assert code in {0, 1}, written
        assert len(written.splitlines()) == code, written
        return code == 0

    def wait_until_healthy(self, process: subprocess.Popen[bytes]) -> str:
        """Wait until the service is healthy, and return its URL; fail if it ends before."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            assert process.poll() is None, self.output()
            found = re.search(r"listening on (http://127\.0\.0\.1:(\d+))", self.output())
            if found:
                self.port = int(found[2])
                if self.healthy():
                    return found[1]
            time.sleep(0.05)
        raise AssertionError(self.output())

    def _popen(self, command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._confinement(), *command],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _confinement(self) -> list[str]:
        """Return the prefix of a confined command. Each program in it replaces itself, so signals reach the command."""
        if os.geteuid() != 0:
            return []
        volume = "" if self._volume is None else str(self._volume)
        python = Path(sys.base_prefix)
        closed = [path for path in python.parents if not path.stat().st_mode & stat.S_IXOTH]
        hidden = str(closed[-1]) if closed else ""
        steps = "\n".join(self._image.values("RUN"))
        data = self._environment["SALDO_DATA_DIR"]
        shell = ["sh", "-euc", CONFINE, "container", volume, str(python), hidden, steps, data]
        return ["unshare", "--mount", "--propagation", "private", "--", *shell]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Yield a directory that every user can reach; it is not in /tmp, which a container replaces."""
    path = Path(tempfile.mkdtemp(prefix="saldo-image-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def embedded_venv(directory: Path) -> Path:
    """Return what the default image contains."""
    for program in ("bash", "unshare", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} in PATH")
    builder = Builder(directory / "embedded")
    builder.run(stages()["builder"])
    return builder.venv


@pytest.fixture(scope="module")
def slim_venv(directory: Path, embedded_venv: Path) -> Path:
    """Return what the slim image contains: the next stage, run on a copy."""
    builder = Builder(directory / "slim")
    shutil.copytree(embedded_venv, builder.venv, symlinks=True)
    builder.run(stages()["without-postgresql"])
    # Installed programs contain the path of their Python, which is the same in the image.
    program = builder.venv / "bin/saldo"
    program.write_text(program.read_text().replace(str(embedded_venv), str(builder.venv)))
    return builder.venv


def test_images_have_the_documented_user_volume_and_commands() -> None:
    found = stages()
    assert list(found)[-1] == "embedded"  # what is built if no target is named
    bases = {stage.base for stage in found.values()} - set(found)
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm", bases.pop())
    base = found["base"]
    assert base.values("USER") == [f"{USER}:{USER}"]
    assert base.values("STOPSIGNAL") == ["SIGTERM"]
    assert base.command("ENTRYPOINT") == ["saldo"]
    assert base.command("CMD") == ["serve"]
    assert base.values("VOLUME") == [base.environment["SALDO_DATA_DIR"]]
    # Programs find their Python by its path, so it must be the same in both.
    venv = found["builder"].environment["VENV"]
    for last, source in (("slim", "without-postgresql"), ("embedded", "builder")):
        assert found[last].base == "base"
        assert found[last].instructions == [("COPY", f"--from={source} {venv} {venv}")]


def test_the_base_of_the_images_has_no_pip() -> None:
    """Check the text of the step only, because running it would remove this machine's pip."""
    found = stages()
    base = found[found["base"].base]
    (step,) = base.values("RUN")
    assert "ensurepip" in step
    assert re.search(r"pip uninstall .*\bsetuptools wheel pip$", step)
    assert base.base == found["builder"].base
    version = re.match(r"python:(\d+)\.(\d+)\.(\d+)-", base.base)
    assert version is not None
    assert tuple(map(int, version.groups())) >= (3, 11, 16)


def test_copied_files_are_not_in_dockerignore() -> None:
    sources = {
        source
        for stage in stages().values()
        for value in stage.values("COPY")
        if not value.startswith("--from")
        for source in value.split()[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can confine")
def test_container_has_no_root_rights_and_a_read_only_file_system(directory: Path) -> None:
    container = Container(directory, directory)
    script = "id -u; grep CapEff /proc/self/status; touch here /tmp/there; touch /etc/x /usr/x /var/lib/x"
    assert container.start_other("sh", "-c", script).wait(COMMAND_SECONDS_MAX) == 1
    user, rights, *refused = container.output().splitlines()
    assert user == str(USER)
    assert int(rights.split()[1], 16) == 0
    assert len(refused) == 3
    assert all(line.endswith("Read-only file system") for line in refused)


@pytest.mark.long
def test_slim_image_runs_on_an_external_postgresql_and_stops(
    slim_venv: Path, directory: Path, machine_postgres: str
) -> None:
    with databases.create_database(machine_postgres) as database:
        service = {"SALDO_DATABASE_URL": database.service_role_url}
        owner = {"SALDO_DATABASE_OWNER_URL": database.owner_role_url}
        code, output = Container(slim_venv, directory, service | owner).run("db", "migrate")
        assert code == 0, output
        serving = Container(slim_venv, directory, service | ANY_PORT)
        with _run_container(serving):
            pass
        assert not serving.healthy()
    assert "Traceback" not in serving.output()


@pytest.mark.long
def test_slim_has_neither_a_postgresql_nor_pip(slim_venv: Path, directory: Path) -> None:
    installed = [path.name for path in slim_venv.glob("lib/python*/site-packages/*")]
    unwanted = ("pixeltable", "pip", "setuptools", "hatchling")
    assert installed
    assert not [name for name in installed if name.startswith(unwanted)]
    code, output = Container(slim_venv, directory).run()
    assert code == 2
    assert output.splitlines()[-1].startswith("saldo: ")
    assert "set SALDO_DATABASE_URL" in output


@pytest.mark.long
def test_embedded_image_keeps_its_data_in_the_volume(embedded_venv: Path, directory: Path) -> None:
    volume = directory / "volume"
    volume.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(volume, USER, USER)
    with _run_container(Container(embedded_venv, directory, ANY_PORT, volume)) as url:
        user_id = _create_user(url)
    assert list(volume.glob("postgresql-*"))
    with _run_container(Container(embedded_venv, directory, ANY_PORT, volume)) as url:
        assert httpx.get(f"{url}/v1/user/{user_id}").status_code == 200


@contextmanager
def _run_container(container: Container) -> Iterator[str]:
    """Yield the URL of a service that is healthy, and check that it accepts a post and stops in order."""
    process = container.start()
    try:
        url = container.wait_until_healthy(process)
        body = {
            "uuid": str(uuid4()),
            "type": "DEPOSIT",
            "amount": "1",
            "user_id": _create_user(url),
        }
        assert httpx.post(f"{url}/v1/transaction", json=body).status_code == 200
        yield url
        assert container.stop(process) == 0, container.output()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _create_user(url: str) -> int:
    return int(httpx.post(f"{url}/v1/user", json={"name": str(uuid4())}).json()["id"])
