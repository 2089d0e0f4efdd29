"""The relay as the how-to page describes it, with the page's consumer and commands."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import aio_pika
import httpx

from harness.program import forks
from harness.program.service import ServiceProcess, run_service_process

ROOT = Path(__file__).parents[3]
HOW_TO = ROOT / "docs" / "howto" / "consume-events.md"
CONSUMER = ROOT / "docs" / "howto" / "consumer.py"


class ConsumerProcess:
    """The process of docs/howto/consumer.py, and its output."""

    def __init__(self, url: str, directory: Path) -> None:
        self.queue = f"saldo-test-{uuid4()}"
        self.process = subprocess.Popen(
            [sys.executable, str(CONSUMER), url, self.queue],
            cwd=directory,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]


@contextmanager
def run_consumer(url: str, directory: Path) -> Iterator[ConsumerProcess]:
    consumer = ConsumerProcess(url, directory)
    try:
        assert consumer.line() == "consuming"
        yield consumer
    finally:
        consumer.process.kill()
        consumer.process.communicate()
        asyncio.run(_delete_queue(url, consumer.queue))


async def _delete_queue(url: str, name: str) -> None:
    """Delete the durable queue, which would otherwise fill for ever on a developer's broker."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(name)


def _commands() -> list[str]:
    text = HOW_TO.read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def _saldo(command: str, directory: Path) -> str:
    program, *arguments = command.split()
    assert program == "saldo"
    done: subprocess.CompletedProcess[str] = forks.run(
        arguments,
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "TZ": "UTC"},
    )
    return done.stdout


def _post(running: ServiceProcess, user_id: int) -> None:
    answer = httpx.post(
        f"{running.url}/v1/transaction",
        json={"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1.00", "user_id": user_id},
    )
    assert answer.status_code == 200


def test_how_to_consumer_receives_everything_and_detects_repetitions(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    commands = _commands()
    rewind = next(command for command in commands if command.startswith("saldo relay rewind"))
    assert "saldo relay status" in commands
    with (
        run_consumer(rabbitmq_url, tmp_path) as consumer,
        run_service_process(tmp_path, SALDO_RABBITMQ_URL=rabbitmq_url) as running,
    ):
        created = httpx.post(f"{running.url}/v1/user", json={"name": "Ann"})
        assert created.json()["id"] == 1
        for _ in range(3):
            _post(running, 1)
        assert consumer.lines(4) == [
            "saldo.user.created 1 0 new",
            *(f"saldo.transaction.posted 1 {number} new" for number in (1, 2, 3)),
        ]
        # The command runs beside the service and uses its embedded server.
        assert "rabbitmq-exchange continues" in _saldo(rewind, tmp_path)
        assert [line.rpartition(" ")[2] for line in consumer.lines(4)] == ["again"] * 4
        status = _saldo("saldo relay status", tmp_path)
        assert re.search(r"rabbitmq-exchange\W+yes\W+8\W+0\W+0\W", status), status
        metrics = httpx.get(f"{running.url}/metrics").text
        assert 'saldo_sink_events_published_total{sink="rabbitmq-exchange"} 8.0' in metrics
        assert 'saldo_sink_events_behind{sink="rabbitmq-exchange"} 0.0' in metrics


def test_relaying_alone(rabbitmq_url: str, tmp_path: Path) -> None:
    with run_consumer(rabbitmq_url, tmp_path) as consumer:
        with run_service_process(
            tmp_path, SALDO_RABBITMQ_URL=rabbitmq_url, SALDO_RELAY_ENABLED="false"
        ) as running:
            httpx.post(f"{running.url}/v1/user", json={"name": "Ann"})
            _post(running, 1)
            assert "saldo_sink" not in httpx.get(f"{running.url}/metrics").text
        alone = forks.start(
            ["relay", "--local"],
            cwd=tmp_path,
            env={"SALDO_RABBITMQ_URL": rabbitmq_url, "SALDO_AS_ROOT": "true", "TZ": "UTC"},
            stderr=subprocess.PIPE,
        )
        try:
            assert consumer.lines(2) == [
                "saldo.user.created 1 0 new",
                "saldo.transaction.posted 1 1 new",
            ]
        finally:
            alone.terminate()
            _, errors = alone.communicate(timeout=60)
        assert alone.returncode == 0, errors.decode()


def test_command_errors_are_one_line(tmp_path: Path) -> None:
    rewind = ("relay", "rewind", "--local", "--sink", "a", "--to")
    for moment, code, expected in (
        ("tomorrow", 2, "--to 'tomorrow' must be a date"),
        ("start", 1, "--sink a: there is no such sink"),
        ("3:9", 2, "--to 3:9: the last position of shard 3 is 0"),
    ):
        done = forks.run(
            [*rewind, moment],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"SALDO_LOG_LEVEL": "error", "SALDO_WEBHOOKS_ENABLED": "false", "TZ": "UTC"},
        )
        assert done.returncode == code
        assert done.stderr.startswith(f"saldo: {expected}"), done.stderr
        assert len(done.stderr.splitlines()) == 1
