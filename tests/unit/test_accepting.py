"""Who waits in the kernel's queue is let in at once."""

from __future__ import annotations

import asyncio
import socket

from saldo.accepting import ACCEPTED_AT_ONCE_MAX, Loop

CONNECTIONS = 50
TURNS = 3
"""One hears of the first, one accepts the others, one greets them."""


class Greeted(asyncio.Protocol):
    """Counts itself."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Greeted.count += 1
        transport.close()


async def _greeted_in_few_turns() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Greeted, sock=listening, backlog=CONNECTIONS)
        clients = [socket.create_connection(listening.getsockname()) for _ in range(CONNECTIONS)]
        Greeted.count = 0
        turns = 0
        while not Greeted.count:
            await asyncio.sleep(0)
        while Greeted.count < CONNECTIONS and turns < TURNS:
            await asyncio.sleep(0)
            turns += 1
        found = Greeted.count
        for client in clients:
            client.close()
        server.close()
        await server.wait_closed()
        return found


def test_a_crowd_is_accepted_in_one_turn() -> None:
    assert CONNECTIONS <= ACCEPTED_AT_ONCE_MAX
    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(_greeted_in_few_turns()) == CONNECTIONS
