"""Free TCP ports of the loopback interface."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def find_free_ports(count: int) -> list[int]:
    """Return different unused ports that the system doesn't assign to outgoing connections.

    Otherwise an outgoing connection could get the port of a killed server before the server is restarted.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_768)  # below Linux' ip_local_port_range
        with socket.socket() as each, suppress(OSError):
            each.bind(("127.0.0.1", port))
            ports += [port] if port not in ports else []
    return ports
