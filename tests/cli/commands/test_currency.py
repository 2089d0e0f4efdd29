"""Currencies with no decimals and with three: amounts look the same wherever they are shown."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from harness.program.command import Program
from harness.program.service import run_service_process
from harness.transaction_files import read_csv

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize(
    ("decimals", "amount", "shown"), [("0", "500000", "500000"), ("3", "1.005", "1.005")]
)
def test_a_currency_is_shown_with_its_decimals(
    tmp_path: Path, decimals: str, amount: str, shown: str
) -> None:
    with (
        run_service_process(tmp_path, SALDO_CURRENCY_DECIMALS=decimals) as running,
        httpx.Client(base_url=running.url) as client,
    ):
        user = client.post("/v1/user", json={"name": "a"}).json()["id"]
        deposit = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": amount, "user_id": user}
        posted = client.post("/v1/transaction", json=deposit).json()
        saldo = Program(SALDO_URL=running.url)
        assert f"{shown} ┤" in saldo("balance", str(user), "--plot").output
        month = posted["recorded_at"][:7]
        assert f" {shown} " in saldo("statement", str(user), "--month", month).output
        table, file = tmp_path / "a.parquet", tmp_path / "a.csv"
        saldo("export", str(table))
        saldo("export", str(file))
        read = parquet.read_table(table)
        assert read.column("balance").to_pylist() == [Decimal(amount)]
        assert str(read.schema.field("balance").type) == f"decimal128(18, {decimals})"
        assert [row["balance"] for row in read_csv(file)] == [amount]
        query = {"from": "start", "type": "saldo.transaction.posted"}
        with client.stream("GET", "/v1/events", params=query) as events:
            event = next(line for line in events.iter_lines() if line.startswith("data:"))
        assert json.loads(event.removeprefix("data:"))["data"]["balance"] == amount
        page = client.get(f"/console/users/{user}").text
        assert shown in re.sub("[,\N{NO-BREAK SPACE}\u202f]", "", page)
