"""The JSON output of operators' commands, which scripts parse."""

from __future__ import annotations

from pathlib import Path

from harness.program.command import Program
from harness.program.service import run_service_process
from saldo.cli.exit_codes import ExitCode


def test_operator_commands_print_json(tmp_path: Path) -> None:
    data, backup, restored = (str(tmp_path / name) for name in ("data", "backup", "restored"))
    saldo = Program(SALDO_DATA_DIR=data)

    def run_json(*arguments: str) -> object:
        return saldo(*arguments, "--json", directory=tmp_path).json

    with run_service_process(tmp_path, SALDO_DATA_DIR=data, SALDO_WEBHOOK_ALLOW_PRIVATE="true"):
        user = saldo.user("user-7341")
        saldo("deposit", user, "5")
        saldo("webhooks", "create", "https://example.com/hook", directory=tmp_path)
        assert run_json("webhooks", "disable", "1") == {"id": 1, "state": "disabled"}
        assert run_json("webhooks", "enable", "1") == {"id": 1, "state": "enabled"}
        assert run_json("webhooks", "replay", "1") == {"id": 1, "replayed": 0}
        sink = saldo("relay", "status", "--json").lines[0]["name"]
        rewound = {"sink": sink, "to": "now"}
        assert run_json("relay", "rewind", "--sink", sink, "--to", "now") == rewound
        assert run_json("webhooks", "delete", "1") == {"id": 1, "state": "deleted"}
        assert run_json("db", "migrate") == {"state": "ready"}
        roles = saldo("db", "roles", "--json").json
        assert roles["sql"] == saldo("db", "roles").output
        names = {"owner": roles["owner"], "service": roles["service"]}
        assert run_json("db", "roles", "--apply") == names | {"state": "granted"}
        copied = saldo("backup", backup, "--json").json
        assert (copied["directory"], copied["data_dir"], copied["verified"]) == (backup, data, True)
        assert copied["size_bytes"] > 1_000_000
        key = saldo("keys", "create", "billing", "--scope", "read", "--json").json
        assert run_json("keys", "revoke", str(key["id"])) == {"id": key["id"], "state": "revoked"}
    found = saldo("restore", backup, "--data-dir", restored, "--json").json
    assert (found["data_dir"], found["users"], found["entries"]) == (restored, 1, 2)
    assert run_json("upgrade") == {"data_dir": data, "upgraded": False}


def test_wrong_backup_arguments_have_the_usage_exit_code(tmp_path: Path) -> None:
    saldo = Program(SALDO_DATA_DIR=str(tmp_path / "data"))
    there = tmp_path / "there"
    there.mkdir()
    assert "already exists" in saldo("backup", str(there), code=ExitCode.USAGE).errors
    restoring = ("restore", str(there), "--data-dir", str(tmp_path / "new"))
    assert "is not a backup" in saldo(*restoring, code=ExitCode.USAGE).errors
    assert "--to requires" in saldo(*restoring, "--to", "2026-01-01", code=ExitCode.USAGE).errors
