"""Authentication: API keys, tokens of an identity provider, and rate limits.

This package determines from a request's headers who sent the request and which rights the sender has. The scopes that
routes require are defined in `saldo.http.authorization`, and keys are stored by `saldo.store.keys`.
"""
