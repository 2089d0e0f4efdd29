"""The image's health check: exit code 0 when the service of this container is ready; else 1, and one line why."""

import http.client
import os
import ssl
import sys

SECONDS_MAX = 4.0
"""Below the time-out of HEALTHCHECK, so that the reason is told."""

port = int(os.environ.get("SALDO_PORT", "8000"))
connection: http.client.HTTPConnection
if os.environ.get("SALDO_TLS_CERTIFICATE_FILE"):
    # The certificate is for the name that clients use, not for this address; nothing secret is asked here.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=SECONDS_MAX, context=context
    )
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
try:
    connection.request("GET", "/healthz/ready")
    answer = connection.getresponse()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"port {port}: {error!r}")
if answer.status != http.client.OK:
    sys.exit(answer.read().decode(errors="replace"))
