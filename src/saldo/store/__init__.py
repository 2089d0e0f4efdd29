"""The only package that uses PostgreSQL. All SQL is in `.sql` files.

This package contains connections, statements, migrations, the embedded server, and the translation of the driver's
errors into the few that callers distinguish (`saldo.store.errors`).
"""
