"""The page about one virtual machine: its files are those of `deploy`, and its commands do what the page says.

The commands run in a directory that stands for the root of the machine, with programs of the test in place of those
that need root, systemd, apt or a package index.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness.prerequisites import find_program, skip_or_fail
from harness.program.environment import copy_environment
from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.binaries import find_binaries
from saldo.store.embedded.server import OlderVersion
from tests.deploy.manifests import ROOT

DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs/howto/production-vm.md").read_text("utf-8")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SHORTENED = "# Hardening: the same lines as in saldo.service.\n"
OWN_MAJOR = "16"
EXPOSURE_MAX = 13
"""Maximum exposure by `systemd-analyze security`, in tenths."""

BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def find_hardening(unit: Path) -> str:
    """Return the lines of a unit from the comment about hardening on, without its section [Install]."""
    return re.sub(
        r"\n\[Install].*", "", unit.read_text().partition("# Hardening: ")[2], flags=re.DOTALL
    )


def analyzer() -> str:
    program = find_program("systemd-analyze", "systemd-analyze")
    if program is None:
        skip_or_fail("systemd-analyze", "no systemd-analyze in PATH (Debian: package systemd)")
    return program


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(DEPLOY).as_posix()
        for folder in ("systemd", "nginx", "caddy", "nftables", "postgresql")
        for path in sorted((DEPLOY / folder).iterdir())
    ],
)
def test_file_is_quoted_on_the_page(path: str) -> None:
    text = (DEPLOY / path).read_text()
    if path.endswith(("relay.service", "migrate.service")):
        shared = "# Hardening: " + find_hardening(DEPLOY / "systemd/saldo.service")
        assert shared in text
        text = text.replace(shared, SHORTENED)
    assert f"\n{text}```\n" in PAGE
    assert f"deploy/{path}`" in PAGE


def test_units_are_valid(tmp_path: Path) -> None:
    """Check the units with systemd. The programs that they start are replaced, because they are not installed."""
    for unit in (*UNITS, DEPLOY / "systemd/saldo-backup.timer"):
        text = re.sub(r"^(ExecStart=)/\S+", r"\1/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        [analyzer(), "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert not [line for line in done.stderr.splitlines() if "saldo" in line]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_hardened(unit: Path) -> None:
    done = subprocess.run(
        [analyzer(), "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_units_read_the_files_that_the_page_creates() -> None:
    read = {
        path
        for unit in UNITS
        for path in re.findall(r"^EnvironmentFile=(\S+)$", unit.read_text(), re.MULTILINE)
    }
    assert read == {"/etc/saldo/saldo.env", "/etc/saldo/owner.env"}
    # Only the migration knows the owner's password.
    assert [u.name for u in UNITS if "owner.env" in u.read_text()] == ["saldo-migrate.service"]
    # Only the stop of the process may be longer than its own timeouts.
    timeout = int(re.findall(r"TimeoutStopSec=(\d+)", UNITS[-1].read_text())[0])
    assert timeout > 20 + 30


def test_firewall_is_valid() -> None:
    nft = find_program("nft", "nft") or find_program("nft", "nft", path="/usr/sbin")
    if nft is None:
        skip_or_fail("nft", "no nft in PATH or /usr/sbin (Debian: package nftables)")
    if os.geteuid() != 0:
        pytest.skip("nft checks rules as root only")
    done = subprocess.run(
        [nft, "--check", "--file", str(DEPLOY / "nftables/nftables.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


RECORDED = (
    *("apt-get", "useradd", "systemctl", "nginx", "nft", "journalctl"),
    "curl",
)

PROGRAMS = {
    # The virtual environment has the programs of the test's own one; pip records what it would install.
    "python3": """
[ "$*" = "-m venv $3" ] || exit 1
mkdir -p "$3/bin"
printf '#!/bin/sh\\nexec "{python}" -m saldo "$@"\\n' >"$3/bin/saldo"
printf '#!/bin/sh\\necho "pip $*" >>"$CALLS"\\n' >"$3/bin/pip"
chmod +x "$3/bin/saldo" "$3/bin/pip"
""",
    # Everything belongs to the account of the test.
    "install": """
n=$#
while [ "$n" -gt 0 ]; do
    case "$1" in -o | -g) shift 2; n=$((n - 2)) ;; *) set -- "$@" "$1"; shift; n=$((n - 1)) ;; esac
done
exec /usr/bin/install "$@"
""",
    "tar": 'mkdir -p "${2%.tar.gz}"; cp -r "{deploy}" "${2%.tar.gz}/deploy"\n',
    "runuser": """
[ "$1 $2 $3" = "-u postgres --" ] || exit 1
shift 3
exec "$@"
""",
    "psql": 'cat >/dev/null; echo "psql $*" >>"$CALLS"; echo f\n',
}


class Machine:
    """A directory that stands for the root of a machine, and the calls of the programs that were replaced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        self.calls.write_text("")
        programs = root / "programs"
        programs.mkdir()
        texts = {name: f'echo "{name} $*" >>"$CALLS"\n' for name in RECORDED} | PROGRAMS
        for name, text in texts.items():
            script = text.replace("{python}", sys.executable).replace("{deploy}", str(DEPLOY))
            (programs / name).write_text(f"#!/bin/sh\n{script}")
            (programs / name).chmod(0o755)
        for directory in (
            *("etc/systemd/system", "etc/postgresql/15/main/conf.d", "etc/nginx/conf.d", "etc/ssl"),
            *(
                "opt/saldo",
                "usr/local/sbin",
                "var/backups",
                "var/lib/postgresql/15/main",
                "release",
            ),
        ):
            (root / directory).mkdir(parents=True)
        self.environment = copy_environment() | {
            "PATH": f"{programs}:{root}/usr/local/sbin:{os.environ['PATH']}",
            "CALLS": str(self.calls),
        }

    def run(self, commands: str) -> list[str]:
        """Run commands of the page, and return the calls of the replaced programs."""
        before = len(self.calls.read_text())
        inside = re.sub(
            r"(?<![\w/.:])/(?=(?:etc|opt|var|usr/local)/)", f"{self.root}/", commands
        ).replace("\ncd /\n", f"\ncd {self.root}\n")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", inside],
            cwd=self.root / "release",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return self.calls.read_text()[before:].splitlines()

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self.root / path).stat().st_mode)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def find_block(text: str) -> str:
    (block,) = (block for block in BLOCKS if text in block)
    return block


def test_commands_install_and_configure_the_service(machine: Machine) -> None:
    """Run the commands from the packages to the start of the units, in one shell, as somebody who follows the page."""
    last = BLOCKS.index(find_block("saldo-run keys"))
    calls = machine.run("\n".join(BLOCKS[:last]))
    assert (machine.root / "opt/saldo/current/bin/saldo").is_file()
    pip = [call.removeprefix("pip ") for call in calls if call.startswith("pip ")]
    release = (ROOT / "docs/howto/release.md").read_text()
    # These are the commands that the test of releases runs.
    assert pip[0] == "install --require-hashes --requirement requirements.txt"
    assert f"/bin/pip {pip[0]}\n" in release
    assert pip[1] == "install --no-deps saldo_ledger-0.1.0-py3-none-any.whl"

    (roles,) = (call for call in calls if call.startswith("psql "))
    passwords = dict(re.findall(r"--set=(\w*password)=([0-9a-f]{48})", roles))
    environment = (machine.root / "etc/saldo/saldo.env").read_text()
    owner = (machine.root / "etc/saldo/owner.env").read_text()
    assert f"saldo:{passwords['password']}@" in environment
    assert f"saldo_owner:{passwords['owner_password']}@" in owner
    assert "choose" not in re.sub(r"^#.*", "", environment + owner, flags=re.MULTILINE)
    assert machine.mode("etc/saldo") == 0o750
    assert machine.mode("etc/saldo/saldo.env") == 0o640
    assert machine.mode("etc/saldo/owner.env") == 0o600

    units = {path.name for path in (machine.root / "etc/systemd/system").iterdir()}
    assert units == {path.name for path in UNITS} | {"saldo-backup.timer"}
    assert calls.index("systemctl start saldo-migrate") < calls.index(
        "systemctl enable --now saldo saldo-relay"
    )
    started = re.findall(
        r"^systemctl (?:start|restart|enable --now) (.*)$", "\n".join(calls), re.MULTILINE
    )
    names = {name for each in started for name in each.split()}
    assert names == {"saldo-migrate", "saldo", "saldo-relay", "postgresql@15-main"}


def test_settings_are_accepted_by_the_program(machine: Machine) -> None:
    """Run a command with the settings of both files, as systemd passes them."""
    settings = dict(
        line.split("=", 1)
        for name in ("saldo.env", "owner.env")
        for line in (DEPLOY / "systemd" / name).read_text().splitlines()
        if not line.startswith("#")
    )
    done = subprocess.run(
        [sys.executable, "-m", "saldo", "db", "roles"],
        cwd=machine.root,
        env=copy_environment() | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "CREATE ROLE" in done.stdout


def test_upgrade_and_rollback_select_the_version(machine: Machine) -> None:
    for version in ("0.1.0", "0.2.0"):
        (machine.root / "opt/saldo" / version).mkdir()
    upgrade, rollback = find_block("start saldo-migrate\nsystemctl restart"), BLOCKS[-2]
    link = machine.root / "opt/saldo/current"
    calls = machine.run(f"version=0.2.0\n{upgrade}")
    assert link.readlink().name == "0.2.0"
    assert [call for call in calls if call.startswith("systemctl")] == [
        "systemctl start saldo-backup",
        "systemctl start saldo-migrate",
        "systemctl restart saldo saldo-relay",
    ]
    machine.run(rollback)
    assert link.readlink().name == "0.1.0"


def test_proxy_backup_and_firewall_commands_run(machine: Machine) -> None:
    deploy = f"deploy={DEPLOY}\n"
    machine.run(deploy + find_block("openssl req"))
    assert (machine.root / "etc/nginx/conf.d/saldo.conf").is_file()
    assert (machine.root / "etc/ssl/saldo/certificate.pem").is_file()
    assert machine.mode("etc/ssl/saldo/key.pem") == 0o600
    machine.run(find_block("journalctl"))
    (machine.root / "var/backups/saldo/base").mkdir(parents=True)
    calls = machine.run(find_block("list-timers"))
    assert calls[0] == "systemctl enable --now saldo-backup.timer"
    machine.run(find_block("show saldo-backup"))
    calls = machine.run(deploy + find_block("nft --check"))
    assert calls[-1] == "systemctl enable --now nftables"


def test_restore_replaces_the_data_directory(machine: Machine) -> None:
    base = machine.root / "var/backups/saldo/base"
    for name in ("2026-11-24T03-00-00Z", "2026-11-25T03-00-00Z", "2026-11-26T03-00-00Z.part"):
        (base / name).mkdir(parents=True)
        (base / name / "PG_VERSION").write_text(name)
    saldo_run = machine.root / "programs/saldo-run"
    saldo_run.write_text('#!/bin/sh\necho "saldo $*" >>"$CALLS"\n')
    saldo_run.chmod(0o755)
    calls = machine.run(find_block("recovery.signal"))
    data = machine.root / "var/lib/postgresql/15/main"
    assert (data / "PG_VERSION").read_text() == "2026-11-25T03-00-00Z"
    assert (data / "recovery.signal").read_bytes() == b""
    command = (data / "postgresql.auto.conf").read_text()
    assert "%f %p" in command
    # The cluster must have stopped before its directory is moved; nothing is served before the ledger is verified.
    assert calls[0] == "systemctl stop saldo saldo-relay postgresql@15-main"
    assert calls[-2:] == ["saldo verify", "systemctl start saldo saldo-relay"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a superuser of a PostgreSQL whose programs for backups all work (decision 0017)."""
    programs = find_binaries(OWN_MAJOR)
    assert programs is not None
    embedded = EmbeddedServer(tmp_path / "server", older=OlderVersion(OWN_MAJOR, programs))
    embedded.start()
    try:
        yield embedded.superuser_url
    finally:
        embedded.stop()


def test_backup_is_verified_and_old_ones_are_deleted(tmp_path: Path, server: str) -> None:
    base, wal = tmp_path / "base", tmp_path / "wal"
    old = base / "2026-01-01T03-00-00Z"
    for each in (old, wal):
        each.mkdir(parents=True)
    (wal / "000000010000000000000001").write_text("")
    for each in (old, wal / "000000010000000000000001"):
        os.utime(each, (0, 0))
    with psycopg.connect(server) as connection:
        parameters = connection.info.get_parameters()
    done = subprocess.run(
        [DEPLOY / "systemd/saldo-backup", tmp_path],
        env=copy_environment()
        | {
            "PATH": f"{find_binaries(OWN_MAJOR)}:{os.environ['PATH']}",
            "PGHOST": parameters["host"],
            "PGUSER": parameters["user"],
            "PGPORT": parameters.get("port", "5432"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = base.iterdir()
    assert done.stdout == f"backup {made}\n"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", made.name)
    assert (made / "backup_manifest").is_file()
    assert not [*wal.iterdir()]


def test_roles_are_created_by_the_script_that_compose_uses() -> None:
    """The script is tested with Compose; the page must pass the variables that it reads."""
    script = (DEPLOY / "compose/roles.sh").read_text()
    block = find_block("compose/roles.sh")
    assert set(re.findall(r"\$(\w+)", script)) <= set(re.findall(r"(\w+)=", block))
