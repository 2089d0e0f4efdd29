"""The only package that talks to PostgreSQL. All SQL stands in `.sql` files.

What belongs here: connections, statements, migrations, the embedded server, and the translation
of the driver's errors into the few that the rest needs to tell apart (`saldo.store.errors`).
"""
