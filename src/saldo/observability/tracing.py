"""Spans by OpenTelemetry: of requests, of their wait in the queue, of batches, of the database, and of the relay.

The module is imported only if tracing is enabled. Its packages are an extra, and without them tracing costs nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from saldo.observability.batch_reports import BatchReport, TracedRequest
from saldo.observability.logs import TRACE_ID

TRACEPARENT: Final = b"traceparent"

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]


class TracedRequestState(Protocol):
    """The fields of a request's state that `Tracing.wrap_application` uses. They are implemented by
    `saldo.http.request_state`."""

    route: str | None
    is_send_wrapped: bool


class Tracing:
    """A tracer that makes spans and exports them. Each process has at most one."""

    def __init__(self, processor: SpanProcessor, version: str, ratio: float) -> None:
        """
        Args:
            ratio: the share of requests, and of the relay's batches, that start a trace. The share does not apply to
                requests whose client has decided by its traceparent.
        """
        self._ratio = ratio
        # Whether a trace starts is decided in this class and not by a sampler, which costs as much as a span.
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource.create({"service.name": "saldo", "service.version": version}),
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("saldo", version)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def create_exporting(cls, url: str, version: str, ratio: float) -> Tracing:
        """Create a tracer that exports spans to a collector by OTLP over HTTP, in a background thread."""
        session = requests.Session()
        # A proxy from the environment (HTTP_PROXY) can't reach a collector on this machine.
        session.trust_env = not _is_loopback(urlsplit(url).hostname or "")
        exporter = OTLPSpanExporter(endpoint=url, session=session)
        return cls(BatchSpanProcessor(exporter), version, ratio)

    def stop(self) -> None:
        """Export the remaining spans. This takes some seconds if the collector does not respond."""
        self._provider.shutdown()

    def wrap_application(
        self,
        application: AsgiApplication,
        trusts_traceparent: Callable[[Any], bool],
        get_state: Callable[[Any], TracedRequestState],
    ) -> AsgiApplication:
        """Return the ASGI application with a span for each traced request.

        Args:
            trusts_traceparent: returns whether the client of a request may decide by its traceparent whether the
                request is traced. Unknown clients must not decide, because they could have all their requests traced.
            get_state: returns the state of a request from its scope.
        """

        def call_traced(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
            parent = next((value for name, value in scope["headers"] if name == TRACEPARENT), None)
            if parent is not None and not trusts_traceparent(scope):
                parent = None
            if parent is None and not self._should_trace():
                return application(scope, receive, send)
            return self._trace_request(application, parent, get_state(scope), scope, receive, send)

        return call_traced

    def _should_trace(self) -> bool:
        """Return whether to trace work for which no client has decided. The choice is random, with the probability
        `ratio`."""
        return random.random() < self._ratio  # noqa: S311

    async def _trace_request(
        self,
        application: AsgiApplication,
        parent: bytes | None,
        state: TracedRequestState,
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        carrier = {} if parent is None else {TRACEPARENT.decode(): parent.decode("latin-1")}
        # A response that is sent in one piece would bypass `send`, and with it the status.
        state.is_send_wrapped = True
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
        }
        with (
            self._tracer.start_as_current_span(
                scope["method"],
                context=self._propagator.extract(carrier),
                kind=trace.SpanKind.SERVER,
                attributes=attributes,
                **_NO_MESSAGES,
            ) as span,
            _mark_failure(span),
        ):
            if span.is_recording():
                TRACE_ID.set(trace.format_trace_id(span.get_span_context().trace_id))

            async def send_and_record_status(message: Any) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(trace.StatusCode.ERROR)
                await send(message)

            await application(scope, receive, send_and_record_status)
            # The route is known only now. An unknown path has none, because the names of spans must be few.
            if state.route:
                span.update_name(f"{scope['method']} {state.route}")
                span.set_attribute("http.route", state.route)

    def get_current_context(self) -> Any | None:
        """Return the context of the running task's request; None if it is not traced."""
        span = trace.get_current_span()
        return trace.set_span_in_context(span) if span.is_recording() else None

    def record_batch(self, traced_requests: Sequence[TracedRequest], report: BatchReport) -> None:
        """Make the spans of each traced request in a batch: one for the wait in the queue, one for the batch, and
        within the batch one for the database."""
        # Spans use the wall clock.
        offset = time.time_ns() - time.monotonic_ns()

        def to_wall_clock_ns(moment: float) -> int:
            return offset + int(moment * 1e9)

        taken_ns, sent_ns, done_ns = (
            to_wall_clock_ns(report.taken_at),
            to_wall_clock_ns(report.sent_at),
            to_wall_clock_ns(report.done_at),
        )
        attributes = {
            "saldo.lane": report.lane,
            "saldo.requests": report.requests,
            "saldo.lock_wait_seconds": report.lock_wait_seconds,
        }
        for context, queued_at in traced_requests:
            self._record_span("queue", context, to_wall_clock_ns(queued_at), taken_ns, {})
            batch_context = self._record_span("batch", context, taken_ns, done_ns, attributes)
            self._record_span(
                "database", batch_context, sent_ns, done_ns, {"db.system.name": "postgresql"}
            )

    def _record_span(
        self, name: str, parent: Context, start: int, end: int, attributes: dict[str, Any]
    ) -> Context:
        span = self._tracer.start_span(name, parent, start_time=start, attributes=attributes)
        span.end(end)
        return trace.set_span_in_context(span, parent)

    @contextmanager
    def open_span(self, name: str, /, **attributes: Any) -> Iterator[None]:
        """Trace the work inside as a span, if it is selected for tracing."""
        if not self._should_trace():
            yield
            return
        span_attributes = {f"saldo.{key}": value for key, value in attributes.items()}
        with (
            self._tracer.start_as_current_span(
                name, attributes=span_attributes, **_NO_MESSAGES
            ) as span,
            _mark_failure(span),
        ):
            yield


_NO_MESSAGES: Final[dict[str, Any]] = {
    "record_exception": False,
    "set_status_on_exception": False,
}
"""Options that keep messages of exceptions out of spans, because they may quote the content of a request. Messages
belong in the log, whose lines have the trace id."""


@contextmanager
def _mark_failure(span: trace.Span) -> Iterator[None]:
    """Mark the span as failed if it ends with an exception, without the exception's message."""
    try:
        yield
    except Exception as error:
        span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
