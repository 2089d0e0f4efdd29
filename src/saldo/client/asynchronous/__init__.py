"""The client for asyncio. `saldo.client.synchronous` is made of it by `python -m tests.client.twin`."""
