"""A process that has loaded `saldo` and forks itself whenever a test starts the program (`harness.program.forks`).

A request is a message on the control socket, whose descriptor is the program's argument. It is a JSON object with
`arguments`, `directory`, `environment` and `new_session`, and carries four descriptors: standard input, output and
error, and a socket. The server sends the process id to this socket, and the exit code (negative for a signal) when the
process has ended.

The process has one thread and handles no signals, so that its children are like new processes.
"""

from __future__ import annotations

import gc
import io
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

REQUEST_BYTES_MAX = 1 << 20


def load() -> None:
    """Load what `saldo serve` and the other commands load."""
    from saldo.cli.command_table import COMMANDS

    import_module("saldo.bootstrap.service")
    for command in COMMANDS.values():
        import_module(f"saldo.cli.commands.{command.module}")


def serve_requests(control: socket.socket) -> dict[str, Any] | None:
    """Serve requests until the control socket is closed, and fork a process for each. Return the request in the forked
    process, and None in this process."""
    waiting: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    message, streams, _, _ = socket.recv_fds(control, REQUEST_BYTES_MAX, 4)
                    if not message:
                        return None
                    status = socket.socket(fileno=streams.pop())
                    pid = os.fork()
                    if pid == 0:
                        for descriptor, (_, other) in waiting.items():
                            os.close(descriptor)
                            other.close()
                        status.close()
                        control.close()
                        for number, stream in enumerate(streams):
                            os.dup2(stream, number)
                            os.close(stream)
                        request: dict[str, Any] = json.loads(message)
                        return request
                    for stream in streams:
                        os.close(stream)
                    descriptor = os.pidfd_open(pid)
                    waiting[descriptor] = (pid, status)
                    selector.register(descriptor, selectors.EVENT_READ)
                    _send_number(status, pid)
                else:
                    descriptor = key.fd
                    selector.unregister(descriptor)
                    pid, status = waiting.pop(descriptor)
                    os.close(descriptor)
                    _send_number(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    status.close()


def _send_number(status: socket.socket, number: int) -> None:
    with suppress(ConnectionError):  # the test no longer waits
        status.send(str(number).encode())


def become_new_process(request: dict[str, Any]) -> None:
    """Give this process the state that a newly started process would have."""
    if request["new_session"]:
        os.setsid()
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None  # TMPDIR of the new environment decides
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = _open_stream(number, mode)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    program = import_module("saldo.__main__")
    sys.path[0] = request["directory"]
    sys.argv = [str(program.__file__), *request["arguments"]]
    # Processes that this one spawns get the main module's name.
    sys.modules["harness.program.fork_server"] = sys.modules["__main__"]
    sys.modules["__main__"] = program


def _open_stream(number: int, mode: str) -> TextIO:
    """Return the object that Python creates for a standard stream."""
    stream = io.open(  # noqa: SIM115, UP020 - it stays open
        number,
        mode,
        encoding=sys.__stdin__.encoding if sys.__stdin__ else None,
        errors="backslashreplace" if number == 2 else "strict",
        newline="\n",
        closefd=False,
    )
    assert isinstance(stream, io.TextIOWrapper)
    if number == 2 or stream.isatty():
        stream.reconfigure(line_buffering=True)
    return stream


def main() -> None:
    """Serve until the other end of the control socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C must end only the tests and the processes that they have started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load()
    # Garbage collections in the forked processes can then skip the objects that are loaded here.
    gc.freeze()
    request = serve_requests(control)
    if request is None:
        return
    become_new_process(request)
    from saldo.__main__ import main as program

    program()


if __name__ == "__main__":
    assert Path("harness/program/fork_server.py").exists()
    main()
