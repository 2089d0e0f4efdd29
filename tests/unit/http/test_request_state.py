"""The state of a request that the server and the routes share."""

from __future__ import annotations

from typing import Any

from saldo.http.raw_responses import get_client_method, send_response
from saldo.http.request_state import ConnectionControl, begin_request_state, get_request_state
from saldo.http.responses import RawResponse


def test_scope_and_its_copy_share_the_state() -> None:
    scope: dict[str, Any] = {"method": "HEAD"}
    state = get_request_state(scope)
    assert get_request_state(scope) is state
    assert state.connection is None
    as_get = scope | {"method": "GET"}
    assert get_client_method(as_get) == "GET"
    state.is_head = True
    assert get_request_state(as_get) is state
    assert get_client_method(as_get) == "HEAD"


async def test_released_connection_sends_nothing() -> None:
    def send_whole(*_: Any) -> bool:
        sent.append("whole")
        return True

    async def send(message: Any) -> None:
        sent.append(message["type"])

    sent: list[str] = []
    control = ConnectionControl(send_whole, lambda: sent.append("abort"), lambda: False)
    scope: dict[str, Any] = {"method": "GET"}
    begin_request_state(scope, control)
    await send_response(scope, send, RawResponse(200, b"1"), "1")
    assert sent == ["whole"]
    control.release()
    await send_response(scope, send, RawResponse(200, b"1"), "1")
    assert sent == ["whole", "http.response.start", "http.response.body"]
    control.abort()
    assert control.is_gone()
    assert "abort" not in sent
