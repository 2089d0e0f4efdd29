"""The client for asyncio. `python -m tests.client.twin` generates `saldo.client.synchronous` from it."""
