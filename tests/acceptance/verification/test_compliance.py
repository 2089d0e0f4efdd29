"""The commands of docs/explanation/compliance.md, run as printed."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import psycopg

from harness.postgresql.databases import Database
from harness.program.service import run_service_process
from tests.acceptance.operation.test_operate import Operator

TEXT = (Path(__file__).parents[3] / "docs/explanation/compliance.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_auditor_exports_the_year_and_checks_the_ledger_later(tmp_path: Path) -> None:
    handed_over, checked = _blocks("sh")
    operator = Operator(tmp_path)
    with run_service_process(tmp_path) as running:
        operator.environment["SALDO_URL"] = running.url
        operator.run("saldo user create customer-4711")
        operator.run("saldo deposit 1 100 --timestamp 2026-03-01T09:00:00Z")
        printed = operator.run(handed_over.replace("http://localhost:8000", running.url))
        assert "closing balance" in printed
        assert len((tmp_path / "2026.csv").read_text().splitlines()) == 2
        assert '"items":[' in (tmp_path / "seals.json").read_text()
        operator.run("saldo deposit 1 1")
        assert "the ledger is intact" in operator.run(checked)


def test_owner_of_the_database_can_erase_a_name(own_ledger: Database, tmp_path: Path) -> None:
    (statement,) = _blocks("sql")
    operator = Operator(tmp_path)
    operator.environment["SALDO_DATABASE_URL"] = own_ledger.service_role_url
    with run_service_process(tmp_path, SALDO_DATABASE_URL=own_ledger.service_role_url) as running:
        user = httpx.post(f"{running.url}/v1/user", json={"name": "A Person"}).json()
        with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as connection:
            connection.execute(statement.replace("4711", str(user["id"])))
        shown = httpx.get(f"{running.url}/v1/user/{user['id']}").json()
    assert shown["name"] == f"erased-{user['id']}"
    assert "the ledger is intact" in operator.run("saldo verify")
