"""The metrics that the processes count, named after Prometheus' conventions. No user ids, no amounts in labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

HTTP_REQUESTS = Counter(
    "saldo_http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
)
HTTP_SECONDS = Histogram(
    "saldo_http_request_duration_seconds",
    "From the head of a request to its answer. Not of the live stream, which ends when its client likes.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
HTTP_CUT = Counter(
    "saldo_http_connections_cut_total",
    "Connections ended because the client was too slow, by what it was waited for.",
    ["waited_for"],
)
OUTCOMES = Counter(
    "saldo_outcomes_total", "Transactions answered, by outcome.", ["outcome", "replayed"]
)
BATCH_REQUESTS = Histogram(
    "saldo_batch_requests",
    "Requests of a batch.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
BATCH_SECONDS = Histogram(
    "saldo_batch_seconds",
    "Time from sending a batch to its commit.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
QUEUE_REQUESTS = Gauge(
    "saldo_queue_requests", "Requests waiting for their outcome.", multiprocess_mode="livesum"
)
QUEUE_LIMIT = Gauge(
    "saldo_queue_limit_requests", "How many may wait, at most.", multiprocess_mode="livesum"
)
QUEUE_WAIT = Histogram(
    "saldo_queue_wait_seconds",
    "How long the oldest request of a batch had waited when the batch was made.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
SHED = Counter("saldo_requests_shed_total", "Requests refused because the queue was full.")
RESENDS = Counter("saldo_batch_resends_total", "Batches sent again.")
RECONNECTS = Counter("saldo_lane_connects_total", "Connections made by lanes.")
EVENTS_SUBSCRIBERS = Gauge(
    "saldo_events_subscribers", "Subscribers of the live stream.", multiprocess_mode="livesum"
)
EVENTS_CUT_OFF = Counter(
    "saldo_events_cut_off_total",
    "Subscribers of the live stream cut off because they were too slow.",
)
REPLICA_READS = Counter(
    "saldo_replica_reads_total", "Questions that a replica may answer, by who did.", ["answered_by"]
)
POOL_CONNECTIONS = Gauge(
    "saldo_pool_connections",
    "Connections to the database beside those of the lanes.",
    ["pool", "state"],
    multiprocess_mode="livesum",
)
LOOP_LAG = Gauge(
    "saldo_event_loop_lag_seconds",
    "How late the event loop came to what was due; the worst of all workers.",
    multiprocess_mode="livemax",
)
