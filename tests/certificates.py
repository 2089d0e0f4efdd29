"""A short list of certificate authorities for the HTTP clients of the tests' process.

A client of httpx that has no TLS context of its own loads all authorities of `certifi`, which takes longer than most
requests. The tests need none of them: their services use HTTP, or a certificate for which the test passes a context.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Final

import certifi

_END: Final = "-----END CERTIFICATE-----\n"


def shorten_authorities() -> None:
    """Make `certifi` name a file with one authority, in this process only.

    The variable SSL_CERT_FILE would have the same effect, but programs that tests start, such as pip, would inherit it.
    """
    directory = Path(tempfile.mkdtemp(prefix="saldo-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    file = directory / "authorities.pem"
    file.write_text(certifi.contents().partition(_END)[0] + _END)
    certifi.where = lambda: str(file)
