"""What an operator sees. Imports nothing of Saldo.

- metrics: counted by the processes themselves
- figures: metrics of what stands in the database, asked for at each scrape
- exposition: both together, in Prometheus' formats
- logs: lines, and the request that each is about
- tracing: spans by OpenTelemetry, when switched on
- vitals: the event loop and the pools, looked at all the time
"""
