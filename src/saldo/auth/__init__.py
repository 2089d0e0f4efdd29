"""Authentication: API keys, tokens of an identity provider, and the rate limit of each.

This package determines from the headers of a request who sent it and which rights it has. It does not contain the
scopes that routes require (`saldo.http.authorization`) nor the storage of keys (`saldo.store.keys`).
"""
