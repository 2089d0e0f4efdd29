"""Single POSTs over HTTP against the bare echo of the same JSON, in the same run.

    python benchmarks/single.py [--connections 64] [--seconds 10] [--users 1000] [--rounds 3]

Needs wrk. Prints requests/s of the service and of a bare uvicorn echo, alternating, the medians and
their ratio, and the latency that wrk measured.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.acceptance.service import service

SCRIPT = """
math.randomseed(os.time() + tonumber(tostring({}):sub(8), 16) % 1000000)
local hex = "0123456789abcdef"
local function digits(n)
    local t = {}
    for i = 1, n do local k = math.random(1, 16); t[i] = hex:sub(k, k) end
    return table.concat(t)
end
request = function()
    local uuid = digits(8) .. "-" .. digits(4) .. "-4" .. digits(3) .. "-a" .. digits(3) .. "-" .. digits(12)
    local body = '{"uuid": "' .. uuid .. '", "type": "DEPOSIT", "amount": "1.00", "user_id": '
        .. math.random(FIRST, LAST) .. '}'
    return wrk.format("POST", "/v1/transaction", {["Content-Type"] = "application/json"}, body)
end
"""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The bare echo that the service is held against."""
    if scope["type"] != "http":
        return
    message = await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message["body"]})


def measure(url: str, script: Path, connections: int, seconds: int) -> tuple[float, str]:
    """Requests per second and the 99th percentile."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    tail = re.search(r"99%\s+(\S+)", output)
    if rate is None or tail is None or "Non-2xx" in output:
        raise SystemExit(output)
    return float(rate[1]), tail[1]


async def create_users(url: str, count: int) -> list[int]:
    """Users to post to."""
    async with httpx.AsyncClient(base_url=url) as client:
        answers = [await client.post("/v1/user", json={"name": f"user {n}"}) for n in range(count)]
    return [answer.json()["id"] for answer in answers]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, service(Path(name)) as running:
        users = asyncio.run(create_users(running.url, given.users))
        script = Path(name) / "post.lua"
        script.write_text(SCRIPT.replace("FIRST", str(users[0])).replace("LAST", str(users[-1])))
        command = [
            "uvicorn",
            "single:echo",
            "--port",
            "8999",
            "--loop",
            "uvloop",
            "--http",
            "httptools",
        ]
        bare = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *command,
                "--lifespan",
                "off",
                "--no-access-log",
                "--log-level",
                "error",
            ],
            cwd=Path(__file__).parent,
        )
        rates: dict[str, list[float]] = {"service": [], "echo": []}
        tails: list[str] = []
        try:
            for _ in range(given.rounds):
                rate, tail = measure(running.url, script, given.connections, given.seconds)
                rates["service"].append(rate)
                tails.append(tail)
                rate, _ = measure("http://127.0.0.1:8999", script, given.connections, given.seconds)
                rates["echo"].append(rate)
        finally:
            bare.terminate()
            bare.wait()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"connections {given.connections}, medians of {given.rounds} rounds of {given.seconds} s")
    print(f"service {medians['service']:,.0f}/s, p99 {' '.join(tails)}")
    print(f"echo    {medians['echo']:,.0f}/s")
    print(f"ratio   {medians['service'] / medians['echo']:.2f}")


if __name__ == "__main__":
    main()
