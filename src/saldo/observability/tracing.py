"""Spans by OpenTelemetry: a request, its wait in the queue, its batch, the database; and what the relay does.

Imported only when it is switched on: the packages are an extra, and without them nothing of this costs anything.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from saldo.observability.logs import TRACE_ID

_UUID: Final = re.compile(r"/transaction/[^/]+")
_ID: Final = re.compile(r"/\d+(?=/|$)")

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Tracing:
    """Makes spans and sends them. One of a process."""

    def __init__(self, processor: SpanProcessor, version: str, ratio: float) -> None:
        """
        Args:
            ratio: of the requests that begin a trace; one whose client has decided is as decided.
        """
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create({"service.name": "saldo", "service.version": version}),
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("saldo", version)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, url: str, version: str, ratio: float) -> Tracing:
        """Sends to a collector: OTLP over HTTP, from a thread of its own."""
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)), version, ratio)

    def stop(self) -> None:
        """Sends what is left; takes some seconds when the collector doesn't answer."""
        self._provider.shutdown()

    def traced(self, application: Application) -> Application:
        """The ASGI application with a span for each of its requests."""

        async def call(scope: Any, receive: Any, send: Any) -> None:
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            method, path = scope["method"], scope["path"]
            route = _route_of(path)
            attributes = {
                "http.request.method": method,
                "http.route": route,
                "url.path": path,
                "url.scheme": scope.get("scheme") or "http",
            }
            # Answers in one piece go past `send`, and with them the status.
            extensions = {**scope.get("extensions", {})}
            extensions.pop("saldo.answer", None)
            with self._tracer.start_as_current_span(
                f"{method} {route}",
                context=self._propagator.extract(headers),
                kind=trace.SpanKind.SERVER,
                attributes=attributes,
            ) as span:
                if span.is_recording():
                    TRACE_ID.set(trace.format_trace_id(span.get_span_context().trace_id))

                async def send_on(message: Any) -> None:
                    if message["type"] == "http.response.start":
                        status = message["status"]
                        span.set_attribute("http.response.status_code", status)
                        if status >= 500:
                            span.set_status(trace.StatusCode.ERROR)
                    await send(message)

                await application(scope | {"extensions": extensions}, receive, send_on)

        return call

    def current(self) -> Any | None:
        """The context of the request that the running task answers; None: it isn't traced."""
        span = trace.get_current_span()
        return trace.set_span_in_context(span) if span.is_recording() else None

    def batch(
        self,
        traced: Sequence[Any],
        taken_at: float,
        sent_at: float,
        done_at: float,
        attributes: dict[str, Any],
    ) -> None:
        """The spans of each traced request of a batch: its wait, the batch, in it the database.

        Args:
            traced: each with its `context`, and `queued_at`.
            taken_at, sent_at, done_at: as `queued_at` of `time.monotonic`, seconds.
        """
        # The spans' clock is the calendar's.
        offset = time.time_ns() - time.monotonic_ns()

        def at(moment: float) -> int:
            return offset + int(moment * 1e9)

        for request in traced:
            self._span("queue", request.context, at(request.queued_at), at(taken_at), {})
            batch = self._span("batch", request.context, at(taken_at), at(done_at), attributes)
            self._span(
                *("database", batch, at(sent_at), at(done_at)), {"db.system.name": "postgresql"}
            )

    def _span(
        self, name: str, parent: Context, start: int, end: int, attributes: dict[str, Any]
    ) -> Context:
        span = self._tracer.start_span(name, parent, start_time=start, attributes=attributes)
        span.end(end)
        return trace.set_span_in_context(span, parent)

    @contextmanager
    def span(self, name: str, /, **attributes: Any) -> Iterator[None]:
        """What is done inside is a span."""
        named = {f"saldo.{key}": value for key, value in attributes.items()}
        with self._tracer.start_as_current_span(name, attributes=named):
            yield


def _route_of(path: str) -> str:
    """Without what is of one user or transaction: names of spans must be few."""
    return _ID.sub("/{id}", _UUID.sub("/transaction/{uuid}", path))
