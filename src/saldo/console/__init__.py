"""The console: web pages for support staff, finance staff and operators, rendered on the server.

The pages work without JavaScript, except for the charts. This package contains sessions, pages and the presentation
of the ledger. It contains no rules about money and no SQL: those are in the code that the API's routes call, and in
`saldo.store`.
"""
