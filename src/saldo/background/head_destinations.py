"""The destinations of signed heads: a directory of new files, or a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

FILE_MODE: Final = 0o644
"""Mode of a published file, whatever the umask is. Heads contain no secrets."""

NAME_PLACEHOLDER: Final = "{name}"
"""Text in the command's arguments that is replaced by the name of the head."""

OUTPUT_BYTES_MAX: Final = 500
"""Maximum number of bytes of the command's error output that the error message contains, from the end of the output."""

SETTING_PREFIX: Final = "SALDO_"


class PublicationError(Exception):
    """Raised when a head could not be published. The message is one line for the operator."""


class HeadDestination(Protocol):
    """A place in which heads are published."""

    async def publish(self, name: str, document: bytes) -> None:
        """Publish a head. Publishing the same head again succeeds.

        Raises:
            PublicationError: It is unknown whether the head is published.
        """
        ...


class DirectoryDestination:
    """A directory that gets a new file for each head. Existing files are never changed."""

    def __init__(self, directory: Path, *, timeout_seconds: float) -> None:
        self._directory = directory
        self._timeout_seconds = timeout_seconds

    async def publish(self, name: str, document: bytes) -> None:
        """Create the file, and sync it and the directory to the disk.

        Raises:
            PublicationError: The file can't be written, or exists with another content.
        """
        path = self._directory / name
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # A thread that a network file system blocks goes on after the timeout, and can do no harm.
                await asyncio.to_thread(create_file, path, document)
        except TimeoutError:
            raise PublicationError(
                f"{path} could not be written within {self._timeout_seconds:g} s"
            ) from None
        except OSError as error:
            raise PublicationError(f"can't write {path}: {error.strerror or error}") from None


class CommandDestination:
    """A command that gets each head on its standard input. It is started without a shell."""

    def __init__(self, arguments: Sequence[str], *, timeout_seconds: float) -> None:
        self._arguments = arguments
        self._timeout_seconds = timeout_seconds

    async def publish(self, name: str, document: bytes) -> None:
        """Run the command, and kill it and its children after the timeout.

        Raises:
            PublicationError: The command can't be started, failed, or took too long.
        """
        program = self._arguments[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *(argument.replace(NAME_PLACEHOLDER, name) for argument in self._arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={k: v for k, v in os.environ.items() if not k.startswith(SETTING_PREFIX)},
                # The process gets a group of its own, so that its children can be killed, too.
                start_new_session=True,
            )
        except OSError as error:
            raise PublicationError(f"can't run {program}: {error.strerror or error}") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output = await _communicate(process, document)
        except TimeoutError:
            raise PublicationError(
                f"{program} took longer than {self._timeout_seconds:g} s and was killed"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.returncode != 0:
            text = " ".join(output.decode("utf-8", "replace").split())
            raise PublicationError(f"{program} ended with exit code {process.returncode}: {text}")


def create_file(path: Path, document: bytes) -> None:
    """Create a file with its whole content at once, and sync it and its directory to the disk. If the file exists with
    this content, only sync them.

    Raises:
        FileExistsError: The file exists with another content.
        OSError: The file can't be written.
    """
    # A reader must not see a part of the file, and a crash must not leave one. So the file is written under another
    # name first. A link, other than a rename, fails if the name is in use.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, FILE_MODE), "wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path, follow_symlinks=False)
        except FileExistsError:
            if path.read_bytes() != document:
                raise FileExistsError(
                    0,
                    "the file exists with another content, so another ledger publishes heads, too",
                ) from None
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


async def _communicate(process: asyncio.subprocess.Process, document: bytes) -> bytes:
    """Write the document to the process, wait for its end, and return the end of its error output."""
    assert process.stdin is not None
    assert process.stderr is not None
    # A command that ends without reading its input is judged by its exit code.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(document)
        await process.stdin.drain()
    process.stdin.close()
    output = b""
    while chunk := await process.stderr.read(4096):
        output = (output + chunk)[-OUTPUT_BYTES_MAX:]
    await process.wait()
    return output
