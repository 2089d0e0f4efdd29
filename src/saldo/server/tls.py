"""The service's TLS certificate, loaded at the start and reloaded when its files are renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from saldo.observability.metrics import CERTIFICATE_EXPIRY
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError

_log = logging.getLogger("saldo")

_FileFingerprint = tuple[tuple[int, int, int], ...]
"""The modification time, size and inode of each file."""


class Certificates:
    """The certificate and key files, and the TLS contexts made from them.

    The object is pickled and sent to the worker processes before it holds a TLS context. Each worker reads the files
    itself.
    """

    def __init__(self, certificate: Path, key: Path, poll_seconds: float) -> None:
        self._certificate = certificate
        self._key = key
        self._poll_seconds = poll_seconds
        self._current_context: ssl.SSLContext | None = None
        self._seen_fingerprint: _FileFingerprint = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Certificates | None:
        """Return the certificates that the settings name, after a check of both files; None if the service uses plain
        HTTP.

        Raises:
            ConfigurationError: only one of the two files is set, or the files can't be used.
        """
        certificate, key = settings.tls_certificate_file, settings.tls_key_file
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            set_part, missing_part = (
                ("KEY", "CERTIFICATE") if certificate is None else ("CERTIFICATE", "KEY")
            )
            raise ConfigurationError(
                f"SALDO_TLS_{set_part}_FILE is set, but SALDO_TLS_{missing_part}_FILE is not: set both or none"
            )
        certificates = cls(certificate, key, settings.tls_reload_interval_seconds)
        certificates._load_context()
        return certificates

    def create_listening_context(self, *_: Any) -> ssl.SSLContext:
        """Return the TLS context of the listening socket. Each new connection gets the certificate that was loaded
        last."""
        self._seen_fingerprint = self._compute_file_fingerprint()
        self._current_context = self._load_context()
        self._report_expiry()
        context = self._load_context()
        context.sni_callback = self._select_context
        return context

    @asynccontextmanager
    async def renew_in_background(self) -> AsyncIterator[None]:
        """Check the files for changes periodically, until the context manager exits."""
        task = asyncio.create_task(self._poll_files(), name="certificate reload")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _poll_files(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            self._renew()

    def _renew(self) -> None:
        """Reload the files if they have changed. If the new files can't be used, log an error once and keep the
        previous certificate."""
        fingerprint = self._compute_file_fingerprint()
        if fingerprint == self._seen_fingerprint:
            return
        self._seen_fingerprint = fingerprint
        try:
            self._current_context = self._load_context()
        except ConfigurationError as error:
            _log.error("%s; the previous certificate remains in use", error)
        else:
            self._report_expiry()
            _log.info("reloaded the certificate in %s", self._certificate)

    def _report_expiry(self) -> None:
        """Set the metric of the time at which the first certificate of the chain expires.

        A certificate that only OpenSSL can read, or a file that is being replaced, must not end the reloading.
        """
        from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - takes long to load

        try:
            chain = load_pem_x509_certificates(self._certificate.read_bytes())
            expiry = min(each.not_valid_after_utc for each in chain)
        except (OSError, ValueError) as error:
            _log.warning("can't read when %s expires: %s", self._certificate, error)
            return
        CERTIFICATE_EXPIRY.labels(self._certificate.name).set(expiry.timestamp())

    def _select_context(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        # OpenSSL calls this method for each connection, with or without a server name. If one context were changed in
        # place, it could for a moment combine a certificate with the key of another certificate.
        connection.context = self._current_context  # type: ignore[assignment]

    def _load_context(self) -> ssl.SSLContext:
        """Load the two files.

        Raises:
            ConfigurationError: the files can't be read, or don't belong together.
        """
        create_listening_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        create_listening_context.minimum_version = ssl.TLSVersion.TLSv1_2
        create_listening_context.set_alpn_protocols(["http/1.1"])
        try:
            create_listening_context.load_cert_chain(
                self._certificate, self._key, password=_reject_password
            )
        except ssl.SSLError as error:
            reason = "they don't belong together, or one of them is no PEM"
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = "the key is not the certificate's"
            raise ConfigurationError(
                f"can't use {self._certificate} with {self._key}: {reason}"
            ) from None
        except (OSError, _EncryptedError) as error:
            reason = "the key has a password" if isinstance(error, _EncryptedError) else str(error)
            raise ConfigurationError(
                f"can't use {self._certificate} with {self._key}: {reason}"
            ) from None
        return create_listening_context

    def _compute_file_fingerprint(self) -> _FileFingerprint:
        try:
            statuses = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return ()
        return tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in statuses)


class _EncryptedError(Exception):
    """Raised when the key is encrypted. OpenSSL would ask for the password on the terminal."""


def _reject_password() -> str:
    raise _EncryptedError
