"""A consumer of Saldo's events: python docs/howto/consumer.py amqp://user:password@host/ [queue]

Keeps each user's balance in a database of its own, ignores deliveries that come again, and tells gaps.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys

import aio_pika

SCHEMA = """
CREATE TABLE IF NOT EXISTS balances (user_id INTEGER PRIMARY KEY, number INTEGER NOT NULL, balance TEXT NOT NULL)
"""


def process(database: sqlite3.Connection, event: dict) -> str:  # type: ignore[type-arg]
    """What the event was: new, again, or a gap. The number is kept in the transaction that uses the event."""
    user_id, number = int(event["subject"]), event["data"]["number"]
    with database:
        row = database.execute(
            "SELECT number FROM balances WHERE user_id = ?", (user_id,)
        ).fetchone()
        expected = row[0] + 1 if row else 0
        if number < expected:
            return "again"
        database.execute(
            "INSERT INTO balances VALUES (?, ?, ?) ON CONFLICT (user_id) DO UPDATE"
            " SET number = excluded.number, balance = excluded.balance",
            (user_id, number, event["data"]["balance"]),
        )
    return "new" if number == expected else f"gap: {expected} to {number - 1} are missing"


async def consume(url: str, queue_name: str) -> None:
    """Acknowledges an event only when it is kept."""
    database = sqlite3.connect(f"{queue_name}.db")
    database.execute(SCHEMA)
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=200)
        exchange = await channel.declare_exchange(
            "saldo", aio_pika.ExchangeType.TOPIC, durable=True
        )
        queue = await channel.declare_queue(queue_name, durable=True)
        await queue.bind(exchange, "user.#")
        print("consuming", flush=True)
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    event = json.loads(message.body)
                    print(
                        event["type"],
                        event["subject"],
                        event["data"]["number"],
                        process(database, event),
                        flush=True,
                    )


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "saldo-consumer"))
