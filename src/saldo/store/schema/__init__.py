"""The schema of the database: migrations, roles, and checks of an existing schema."""
