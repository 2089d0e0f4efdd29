"""The metrics that the processes count, named after Prometheus' conventions. Labels never contain user ids or
amounts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

HTTP_REQUESTS = Counter(
    "saldo_http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
)
HTTP_SECONDS = Histogram(
    "saldo_http_request_duration_seconds",
    "Time from the head of a request to its response. The live stream is excluded, because its clients decide "
    "when it ends.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HTTP_CUT = Counter(
    "saldo_http_connection_timeouts_total",
    "Connections closed because the client was too slow, by the phase in which it was.",
    ["phase"],
)
HTTP_CONNECTIONS = Gauge(
    "saldo_http_connections", "Open HTTP connections.", multiprocess_mode="livesum"
)
HTTP_CONNECTIONS_LIMIT = Gauge(
    "saldo_http_connections_limit",
    "Maximum number of open HTTP connections; further ones are rejected with 503.",
    multiprocess_mode="livesum",
)
OUTCOMES = Counter(
    "saldo_transactions_total", "Transactions answered, by outcome.", ["outcome", "replayed"]
)
BATCH_REQUESTS = Histogram(
    "saldo_batch_requests",
    "Number of requests in a batch.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
BATCH_SECONDS = Histogram(
    "saldo_batch_duration_seconds",
    "Time from sending a batch to its commit.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
QUEUE_REQUESTS = Gauge(
    "saldo_queue_requests",
    "Admitted requests that wait for their outcome.",
    multiprocess_mode="livesum",
)
QUEUE_LIMIT = Gauge(
    "saldo_queue_requests_max", "Maximum number of admitted requests.", multiprocess_mode="livesum"
)
QUEUE_ADMISSION_LIMIT = Gauge(
    "saldo_queue_admission_limit_requests",
    "Current admission limit: single requests are admitted while fewer requests than this wait.",
    multiprocess_mode="livesum",
)
LANES = Gauge("saldo_lanes", "Number of lanes.", multiprocess_mode="livesum")
LANES_BUSY = Gauge(
    "saldo_lanes_busy", "Number of lanes with a batch in flight.", multiprocess_mode="livesum"
)
QUEUE_WAIT = Histogram(
    "saldo_queue_wait_seconds",
    "Time that the oldest request of a batch had waited when the batch was formed.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
SHED = Counter(
    "saldo_requests_shed_total",
    "Requests that were not admitted, because the admission limit was reached or the queue was full.",
)
RESENDS = Counter("saldo_batch_resends_total", "Batches that were sent again.")
RECONNECTS = Counter("saldo_lane_connects_total", "Database connections opened by lanes.")
EVENTS_SUBSCRIBERS = Gauge(
    "saldo_events_subscribers", "Subscribers of the live stream.", multiprocess_mode="livesum"
)
EVENTS_CUT_OFF = Counter(
    "saldo_events_subscribers_dropped_total",
    "Subscribers of the live stream that were disconnected because they were too slow.",
)
REPLICA_READS = Counter(
    "saldo_replica_reads_total",
    "Reads that a replica may answer, by the server that answered.",
    ["answered_by"],
)
POOL_CONNECTIONS = Gauge(
    "saldo_pool_connections",
    "Database connections, except those of the lanes.",
    ["pool", "state"],
    multiprocess_mode="livesum",
)
POOL_CONNECTIONS_LIMIT = Gauge(
    "saldo_pool_connections_limit",
    "Maximum number of connections of the pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
POOL_WAITING = Gauge(
    "saldo_pool_waiting_requests",
    "Requests that wait for a connection of the pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
CERTIFICATE_EXPIRY = Gauge(
    "saldo_tls_certificate_expiry_timestamp_seconds",
    "Time at which the first certificate of the chain that is in use expires. It is absent without TLS.",
    ["file"],
    multiprocess_mode="livemin",
)
LOOP_LAG = Gauge(
    "saldo_event_loop_lag_seconds",
    "Lag of the event loop; the maximum of all workers.",
    multiprocess_mode="livemax",
)
