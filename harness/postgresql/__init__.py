"""PostgreSQL for tests: databases, data directories, standbys, pgbouncer, and ledgers with sample entries."""
