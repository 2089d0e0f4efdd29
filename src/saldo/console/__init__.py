"""Pages for people: support, finance and operators. Rendered by the server; a page works without a script, too.

What belongs here: who is signed in, pages, and what of the ledger stands on them. What doesn't: any rule about money,
and any question to the database, which are those of the API's routes or of `saldo.store`.
"""
