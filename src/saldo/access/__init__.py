"""Who may do what: keys, tokens of an identity provider, and how often each may ask.

What belongs here: telling from the headers of a request whose it is, and what that one may do. What doesn't: which
route needs what (`saldo.http.access`), and where keys are kept (`saldo.store.keys`).
"""
