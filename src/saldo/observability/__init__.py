"""What an operator sees. Imports nothing of Saldo.

- metrics: counted by the processes themselves
- figures: metrics of what stands in the database, asked for at each scrape
- exposition: both together, in Prometheus' formats
- batches: what is told of a batch, in the log and as spans
- logs: lines, and the request that each is about
- tracing: spans by OpenTelemetry, when switched on
- vitals: the event loop and the pools, looked at all the time
"""
