"""Spans by OpenTelemetry: a request, its wait in the queue, its batch, the database; and what the relay does.

Imported only when it is switched on: the packages are an extra, and without them nothing of this costs anything.
"""

from __future__ import annotations

import random
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
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from saldo.observability.batches import BatchReport, TracedRequest
from saldo.observability.logs import TRACE_ID

TRACEPARENT: Final = b"traceparent"

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Tracing:
    """Makes spans and sends them. One of a process."""

    def __init__(self, processor: SpanProcessor, version: str, ratio: float) -> None:
        """
        Args:
            ratio: of the requests, and of the relay's batches, that begin a trace; a request whose client has
                decided is as decided.
        """
        self._ratio = ratio
        # Whether a trace begins is decided here and not by a sampler, which costs as much as a span.
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
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
        """The ASGI application with a span for each of its requests that is traced."""

        def call(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
            parent = next((value for name, value in scope["headers"] if name == TRACEPARENT), None)
            if parent is None and not self._begins():
                return application(scope, receive, send)
            return self._trace(application, parent, scope, receive, send)

        return call

    def _begins(self) -> bool:
        """Whether something that nobody else has decided about is traced."""
        return random.random() < self._ratio  # noqa: S311

    async def _trace(
        self, application: Application, parent: bytes | None, scope: Any, receive: Any, send: Any
    ) -> None:
        carrier = {} if parent is None else {TRACEPARENT.decode(): parent.decode("latin-1")}
        # Answers in one piece go past `send`, and with them the status.
        extensions = {**scope.get("extensions", {})}
        extensions.pop("saldo.answer", None)
        scope = scope | {"extensions": extensions}
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
        }
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._propagator.extract(carrier),
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

            await application(scope, receive, send_on)
            # Known only now; an unknown path has none, for names of spans must be few.
            route = scope.get("path_template")
            if route:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)

    def current(self) -> Any | None:
        """The context of the request that the running task answers; None: it isn't traced."""
        span = trace.get_current_span()
        return trace.set_span_in_context(span) if span.is_recording() else None

    def batch(self, traced: Sequence[TracedRequest], batch: BatchReport) -> None:
        """The spans of each traced request of a batch: its wait, the batch, in it the database."""
        # The spans' clock is the calendar's.
        offset = time.time_ns() - time.monotonic_ns()

        def at(moment: float) -> int:
            return offset + int(moment * 1e9)

        taken, sent, done = at(batch.taken_at), at(batch.sent_at), at(batch.done_at)
        parts = {
            "saldo.lane": batch.lane,
            "saldo.requests": batch.requests,
            "saldo.lock_wait_seconds": batch.lock_wait_seconds,
        }
        for context, queued_at in traced:
            self._span("queue", context, at(queued_at), taken, {})
            within = self._span("batch", context, taken, done, parts)
            self._span("database", within, sent, done, {"db.system.name": "postgresql"})

    def _span(
        self, name: str, parent: Context, start: int, end: int, attributes: dict[str, Any]
    ) -> Context:
        span = self._tracer.start_span(name, parent, start_time=start, attributes=attributes)
        span.end(end)
        return trace.set_span_in_context(span, parent)

    @contextmanager
    def span(self, name: str, /, **attributes: Any) -> Iterator[None]:
        """What is done inside is a span, if it is traced."""
        if not self._begins():
            yield
            return
        named = {f"saldo.{key}": value for key, value in attributes.items()}
        with self._tracer.start_as_current_span(name, attributes=named):
            yield
