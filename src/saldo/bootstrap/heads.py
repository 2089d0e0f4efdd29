"""The publisher of signed heads, and the files with its private keys."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saldo.lifecycle.tasks import run_task
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from saldo.background.head_destinations import HeadDestination
    from saldo.background.head_signer import HeadKeys
    from saldo.background.seal_worker import Sealer

KEY_FILE_BYTES_MAX = 10_000
"""Maximum size of a key file in bytes."""

_log = logging.getLogger("saldo.relay")


@asynccontextmanager
async def run_head_publisher(settings: Settings, pool: Any, sealer: Sealer) -> AsyncIterator[None]:
    """Publish signed heads inside the block, and a last one at its end. If the settings name no key, do nothing.

    Args:
        sealer: The sealer of this process, which must not run any more when the block ends.
    """
    if settings.seals_key_file is None:
        yield
        return
    # These modules need the library for signatures, which takes long to load.
    from saldo.background.head_publisher import HeadPublisher, PublisherLimits  # noqa: PLC0415
    from saldo.background.head_signer import HeadSigner  # noqa: PLC0415

    try:
        keys = load_head_keys(settings)
    except ConfigurationError as error:
        # The start of the service checks the files, too. If a file has become unusable since, events must go on.
        _log.error("no signed heads are published: %s", error)
        yield
        return
    publisher = HeadPublisher(
        pool,
        HeadSigner(keys),
        create_destination(settings),
        PublisherLimits(settings.seals_publish_interval, settings.seals_publish_timeout_seconds),
    )
    async with run_task(publisher.run(), name="signed heads"):
        yield
    await publisher.publish_last(sealer)


def check_head_keys(settings: Settings) -> None:
    """Check the key files of this process's relay before anything starts.

    Raises:
        ConfigurationError: A key file can't be used. The message is one line for the operator.
    """
    if settings.seals_key_file is not None and settings.seals_enabled:
        load_head_keys(settings)


def load_head_keys(settings: Settings) -> HeadKeys:
    """Return the private keys that the settings name.

    Raises:
        ConfigurationError: A key file can't be used. The message is one line for the operator.
    """
    from saldo.background.head_signer import HeadKeys  # noqa: PLC0415 - takes long to load

    assert settings.seals_key_file is not None
    following = settings.seals_next_key_file
    return HeadKeys(
        load_private_key(settings.seals_key_file),
        None if following is None else load_private_key(following),
        settings.seals_key_replaced,
    )


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file (PEM, PKCS #8) that only its owner can read.

    Raises:
        ConfigurationError: The file can't be read, other accounts can read it, or it contains no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - takes long to load
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        # With O_NONBLOCK, opening a pipe does not block.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(f"can't read the key file {path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"the key file {path} is not a regular file")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"the key file {path} has the mode {stat.S_IMODE(status.st_mode):04o}, so other accounts may read it: "
            "chmod 600"
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise ConfigurationError(f"the key file {path} belongs to another account")
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"the key file {path} contains no Ed25519 key: create it with saldo seals key --create"
        )
    return key


def create_private_key(path: Path) -> Ed25519PrivateKey:
    """Create a file with a new private key that only its owner can read, and return the key.

    Raises:
        ConfigurationError: The file exists, or can't be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - takes long to load
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"can't create the key file {path}: {error.strerror}") from None
    return key


def create_destination(settings: Settings) -> HeadDestination:
    """Return the destination that the settings name."""
    from saldo.background.head_destinations import (  # noqa: PLC0415 - only used with signed heads
        CommandDestination,
        DirectoryDestination,
    )

    seconds = settings.seals_publish_timeout_seconds
    if settings.seals_publish_dir is not None:
        return DirectoryDestination(settings.seals_publish_dir, timeout_seconds=seconds)
    return CommandDestination(settings.seals_publish_arguments, timeout_seconds=seconds)
