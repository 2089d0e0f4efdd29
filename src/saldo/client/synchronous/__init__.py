"""The client for code without asyncio. `python -m tests.client.twin` generates it from `saldo.client.asynchronous`,
except for `concurrency`, which uses threads instead of tasks."""
