"""Start `saldo` as a fork of a process that has loaded the program, which saves a second or two each time.

Such a process is independent in every respect: process id, session, signals, working directory, environment, standard
streams and exit code. Only the program's code is already loaded. Tests of the loading itself, of missing packages and
of mutants start a new Python process instead. If SALDO_TEST_FORK is 0, all tests do this.

The server side is `harness.program.fork_server`.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, AnyStr, Final

from harness.repository import ROOT

COMMAND: Final = (sys.executable, "-m", "saldo")
"""The command that starts the program in a Python process of its own."""

ENABLED: Final = hasattr(os, "pidfd_open") and os.environ.get("SALDO_TEST_FORK") != "0"

READ_AT_START: Final = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_")
"""Prefixes of environment variables that Python reads only at its start. If a test changes one of them, a new Python
process is started instead of a fork."""

MESSAGE_BYTES_MAX: Final = 256

_signature = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class ForkServer:
    """A child process from which processes of `saldo` are forked. It ends when the process that created it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.program.fork_server", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def fork(self, request: Mapping[str, Any], streams: Sequence[int]) -> tuple[int, socket.socket]:
        """Start a process.

        Args:
            request: as `harness.program.fork_server` describes it.
            streams: the new process's standard input, output and error.

        Returns:
            The process id, and a socket on which the exit code will arrive.
        """
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            message = json.dumps(request).encode()
            socket.send_fds(self._control, [message], [*streams, theirs.fileno()])
        first = status.recv(MESSAGE_BYTES_MAX)
        if not first:
            status.close()
            raise ChildProcessError("the fork server has ended")
        return int(first), status

    def end(self) -> None:
        """End the fork server; processes that it has started continue."""
        self._control.close()
        self._process.wait()


class ForkedProcess(subprocess.Popen[AnyStr]):
    """A process that the fork server started and waits for.

    It overrides private methods of `subprocess.Popen`. There is no public way to use the interface of `Popen` (pipes,
    `communicate`, timeouts) for a process that another process has started. The forkserver of `multiprocessing` calls a
    function and has no standard streams, working directory or session for each process. If a version of Python changes
    these methods, `SALDO_TEST_FORK=0` runs the tests without them.
    """

    _status: socket.socket

    def _execute_child(self, *positional: Any, **named: Any) -> None:
        given: dict[str, Any] = _signature.bind(self, *positional, **named).arguments
        own = (given["p2cread"], given["c2pwrite"], given["errwrite"])
        request = {
            "arguments": [*map(os.fspath, given["args"])],
            "directory": os.fspath(given["cwd"] or Path.cwd()),
            "environment": dict(os.environ if given["env"] is None else given["env"]),
            "new_session": given["start_new_session"],
        }
        streams = [number if passed == -1 else passed for number, passed in enumerate(own)]
        self.pid, self._status = _get_server().fork(request, streams)
        self._child_created: bool = True
        self._close_pipe_fds(*(given[name] for name in _PIPE_ENDS))  # type: ignore[attr-defined]

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        self._receive(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if not self._receive(timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _receive(self, timeout: float | None) -> bool:
        """Wait for the exit code, and return whether it is known."""
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is not None:
                return True
            milliseconds = None if timeout is None else max(0.0, timeout) * 1000
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            if not poll.poll(milliseconds):
                return False
            # The fork server has ended before the process, so the exit code can't be known.
            message = self._status.recv(MESSAGE_BYTES_MAX)
            self.returncode = int(message or -1)
            self._status.close()
            return True


_PIPE_ENDS: Final = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")

_servers: dict[int, ForkServer] = {}


def _get_server() -> ForkServer:
    """Return this process's fork server."""
    with _starting:
        if os.getpid() not in _servers:
            _servers[os.getpid()] = ForkServer()
            atexit.register(_servers[os.getpid()].end)
        return _servers[os.getpid()]


_starting: Final = threading.Lock()


def start(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Start `saldo` with these arguments; the options are those of `subprocess.Popen`."""
    environment = os.environ if env is None else env
    if ENABLED and _variables_read_at_start(environment) == _variables_read_at_start(os.environ):
        return ForkedProcess([*arguments], env=env, **options)
    return subprocess.Popen([*COMMAND, *arguments], env=env, **options)


def run(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run `saldo` with these arguments to its end, as `subprocess.run` does."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(arguments, env=env, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


def _variables_read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}
