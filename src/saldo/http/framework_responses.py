"""The framework's responses, with the JSON encoder of this service."""

from __future__ import annotations

from typing import Any, TypeVar

from litestar import Response
from litestar.enums import MediaType

from saldo.encoding.json import encode_json
from saldo.http.responses import RawResponse

T = TypeVar("T")


class JsonResponse(Response[T]):
    """A response whose content is encoded by `saldo.encoding.json`, unless it is bytes or text already."""

    def render(self, content: Any, media_type: str, *arguments: Any, **named: Any) -> bytes:
        """Return the body."""
        if media_type == MediaType.JSON and not isinstance(content, (bytes, str)):
            return encode_json(content)
        return super().render(content, media_type, *arguments, **named)


def convert_response(answer: RawResponse) -> Response[bytes]:
    """Return the framework's response for an answer."""
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers=dict(answer.headers),
    )
