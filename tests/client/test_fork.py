"""A client that was used before a fork: each process has connections of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from saldo.client import AsyncClient, Client

BOTH_ASK = """
import os, sys
from saldo import Client

client = Client(sys.argv[1])
before = client.health()
assert client.health() == before, "connections are not kept: this shows nothing"
child = os.fork()
if not child:
    assert client.health() != before, "the child is on the connection of its parent"
    client.close()
    sys.exit()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert client.health() == before, "the connection of the parent was closed"
"""


class Ports(BaseHTTPRequestHandler):
    """A server that returns to each connection its port."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"status": "%d"}' % self.client_address[1]
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_each_process_has_connections_of_its_own() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ports) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        done = subprocess.run(
            [sys.executable, "-c", BOTH_ASK, f"http://127.0.0.1:{server.server_port}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        server.shutdown()
        serving.join()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("class_", [Client, AsyncClient])
def test_child_leaves_the_parents_connections_alone(
    class_: type[Client | AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = class_()._connection
    before = connection.http, connection.streams
    assert (connection.http, connection.streams) == before
    monkeypatch.setattr("os.getpid", lambda: -1)
    after = connection.http, connection.streams
    assert not {*before} & {*after}
    assert (connection.http, connection.streams) == after
    assert not any(each.is_closed for each in before)
