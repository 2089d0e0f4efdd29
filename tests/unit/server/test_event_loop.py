"""Acceptance of connections: all that wait in the kernel's backlog are accepted at once."""

from __future__ import annotations

import asyncio
import socket

from saldo.server.event_loop import ACCEPTED_AT_ONCE_MAX, BacklogAcceptingLoop

CONNECTIONS = 50
TURNS = 3
"""Turns of the loop: one to notice the first connection, one to accept the others, one to start their protocols."""


class Greeted(asyncio.Protocol):
    """A protocol that counts its connections."""

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


def test_whole_backlog_is_accepted_in_one_turn() -> None:
    assert CONNECTIONS <= ACCEPTED_AT_ONCE_MAX
    with asyncio.Runner(loop_factory=BacklogAcceptingLoop) as runner:
        assert runner.run(_greeted_in_few_turns()) == CONNECTIONS
