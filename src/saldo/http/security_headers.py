"""Headers that protect responses and pages in browsers, and the page of the OpenAPI document.

The page contains no inline script, so its policy can forbid all inline scripts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from litestar import get
from litestar.connection import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.response import Response

from saldo.http.authorization import CONSOLE_PATH
from saldo.http.request_state import get_request_state

ASSETS_PATH: Final = "/docs/assets"

NO_STORE: Final = (b"cache-control", b"no-store")

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    # Swagger UI uses inline styles.
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = [
    NO_STORE,
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_CONSOLE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_CONSOLE_HEADERS: Final = [
    NO_STORE,
    (b"content-security-policy", _CONSOLE_POLICY.encode()),
    # With no-referrer a browser sends forms with `Origin: null`, and their origin could not be checked.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_ASSET_HEADERS: Final = [(b"cache-control", b"no-cache")]

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Saldo</title>
    <link rel="icon" href="{root}/docs/assets/favicon-32x32.png">
    <link rel="stylesheet" href="{root}/docs/assets/swagger-ui.css">
    <script src="{root}/docs/assets/swagger-ui-bundle.js" defer></script>
    <script src="{root}/docs/start.js" defer></script>
  </head>
  <body>
    <div id="swagger-container"></div>
  </body>
</html>
"""
_START: Final = """SwaggerUIBundle({
  url: new URL("../openapi.json", document.currentScript.src).href,
  dom_id: "#swagger-container",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
});
"""


class DocumentPage(OpenAPIRenderPlugin):
    """The page of Swagger UI. Its script fetches the OpenAPI document."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        return _PAGE.format(root=get_request_state(request.scope).path_prefix).encode()


@get("/docs/start.js", include_in_schema=False, sync_to_thread=False)
def get_swagger_start_script() -> Response[bytes]:
    """Return the script that starts Swagger UI."""
    return Response(_START.encode(), media_type="text/javascript")


def build_common_headers(hsts_max_age_seconds: int) -> list[tuple[str, str]]:
    """Return the headers of all responses. If `hsts_max_age_seconds` is 0, HSTS is not sent."""
    headers = [
        ("x-content-type-options", "nosniff"),
        # Pages of other sites can't load a response as a script or an image. This does not affect CORS.
        ("cross-origin-resource-policy", "same-origin"),
    ]
    if hsts_max_age_seconds:
        headers.append(("strict-transport-security", f"max-age={hsts_max_age_seconds}"))
    return headers


def build_framework_headers(
    headers: Iterable[tuple[bytes, bytes]],
    path: str,
) -> list[tuple[bytes, bytes]]:
    """Return the headers to add to a response of the framework. They depend on the response's headers and the path."""
    names = {name.lower(): value for name, value in headers}
    content_type = names.get(b"content-type", b"")
    if content_type.startswith(b"text/html"):
        return _CONSOLE_HEADERS if path.startswith(CONSOLE_PATH) else _PAGE_HEADERS
    if b"etag" in names:
        return _ASSET_HEADERS
    return [NO_STORE]
