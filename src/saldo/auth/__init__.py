"""Authentication: API keys, tokens of an identity provider, and the rate limit of each.

This package determines from the headers of a request whose it is and which rights it has. It does not contain the
scopes that routes require (`saldo.http.authorization`) nor the storage of keys (`saldo.store.keys`).
"""
