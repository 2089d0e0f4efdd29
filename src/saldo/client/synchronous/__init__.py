"""The client for ordinary code: made of `saldo.client.asynchronous` by `python -m tests.client.twin`, but for
`running`, which is about threads where that is about tasks."""
