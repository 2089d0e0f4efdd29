"""The schema of the database: migrations, roles, and the comparison with what the migrations create."""
