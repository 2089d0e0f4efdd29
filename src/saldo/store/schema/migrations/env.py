"""Runs the steps on the connection that `saldo.store.schema.migrate` hands over, in its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="migrations",
    version_table_schema="saldo",
)
context.run_migrations()
