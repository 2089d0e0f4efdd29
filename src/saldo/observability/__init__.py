"""Metrics, logs and traces. This package imports nothing else of Saldo.

- metrics: the metrics that the processes count
- database_metrics: metrics that are queried from the database at each scrape
- exposition: both together, in the formats of Prometheus
- worker_metrics: the directory through which several workers share their metrics
- process_metrics: CPU, memory and open files of the workers and of the relay's process
- batch_reports: the report of a batch, for the log and for spans
- logs: log lines, with the request that each belongs to
- tracing: spans by OpenTelemetry, if it is enabled
- runtime_metrics: the event loop, the queue and the pools, sampled continuously
"""
