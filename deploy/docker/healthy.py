"""The health check of the image. It exits with 0 if the service is ready, else with 1 and a line that says why."""

import http.client
import os
import ssl
import sys

TIMEOUT_SECONDS = 4.0
"""Timeout of the request in seconds, below that of HEALTHCHECK, so that the reason is still printed."""

# In a namespace with a Service named saldo, Kubernetes may set SALDO_PORT=tcp://10.0.0.1:8000, which Saldo ignores.
given = os.environ.get("SALDO_PORT", "")
port = int(given) if given.isdecimal() else 8000
connection: http.client.HTTPConnection
if os.environ.get("SALDO_TLS_CERTIFICATE_FILE"):
    # The certificate is for the name that clients use and not for this address. The check exchanges no secrets.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context
    )
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
try:
    connection.request("GET", "/healthz/ready")
    answer = connection.getresponse()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"port {port}: {error!r}")
if answer.status != http.client.OK:
    sys.exit(answer.read().decode(errors="replace"))
