"""The time of a single post in a ledger that grows from nothing and is never analysed.

    python benchmarks/growth.py [--entries 500000] [--users 10000]

Prints, at each tenth of the way, the median time of a post of one (one round trip, durable) and the
rate at which the batches in between were posted.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import psycopg

from saldo.ledger.model import Limits, TransactionRequest
from saldo.store.embedded import EmbeddedServer
from saldo.store.migrate import prepare
from saldo.store.poster import Poster

BATCH = 2000
SINGLES = 200


async def grow(url: str, entries: int, users: list[int]) -> None:
    """Posts and prints."""
    poster = await Poster.open(url, Limits(), lane=0, statement_timeout_seconds=60)
    turn = 0
    print(
        f"{'entries':>9}  {'post of one, ms':>15}  {'batches of ' + str(BATCH) + ', entries/s':>26}"
    )
    for tenth in range(11):
        rate = 0.0
        if tenth:
            began = time.perf_counter()
            count = entries // 10
            for _ in range(count // BATCH):
                batch = []
                for _ in range(BATCH):
                    turn += 7919
                    batch.append(TransactionRequest(uuid4(), users[turn % len(users)], 1, None))
                await poster.post(batch)
            rate = count / (time.perf_counter() - began)
        times = []
        for _ in range(SINGLES):
            turn += 7919
            began = time.perf_counter()
            await poster.post([TransactionRequest(uuid4(), users[turn % len(users)], 1, None)])
            times.append(time.perf_counter() - began)
        print(f"{tenth * entries // 10:9,}  {statistics.median(times) * 1000:15.2f}  {rate:26,.0f}")
        sys.stdout.flush()
    await poster.close()


def main() -> None:
    """Starts a server of its own, with autovacuum's analysis off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--users", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        server = EmbeddedServer(Path(name))
        server.start()
        try:
            prepare(server.owner_url, server.service_url, currency_decimals=2, max_lateness=None)
            with psycopg.connect(server.owner_url, autocommit=True) as connection:
                connection.execute("ALTER TABLE saldo.transactions SET (autovacuum_enabled = off)")
                rows = connection.execute(
                    "SELECT (saldo.create_user_1('user ' || n)).id FROM generate_series(1, %s) AS n",
                    (given.users,),
                ).fetchall()
            asyncio.run(grow(server.service_url, given.entries, [row[0] for row in rows]))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
