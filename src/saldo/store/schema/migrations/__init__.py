"""The schema's history. Alembic runs the steps; each step is plain SQL in `sql/`."""
