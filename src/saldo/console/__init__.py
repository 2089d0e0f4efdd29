"""The console: web pages for support staff, finance staff and operators, rendered on the server.

The pages work without JavaScript, except for the charts. This package contains sessions, pages and the presentation
of the ledger. It contains no rules about money and no SQL. The rules are in the code that the API's routes call, too,
and the SQL is in `saldo.store`.
"""
