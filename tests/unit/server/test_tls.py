"""The expiry of the certificate that is in use."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from saldo.server.tls import Certificates


def test_certificate_whose_expiry_is_unreadable_does_not_end_the_reloading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    certificates = Certificates(certificate, key, 1)
    certificates.create_listening_context()
    assert not caplog.records
    # The file can change between the loading by OpenSSL and this reading.
    damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for text in (damaged, None):
        if text is None:
            certificate.unlink()
        else:
            certificate.write_text(text)
        certificates._report_expiry()
        assert "can't read when" in caplog.records.pop().message
