"""Distribution of a ledger with Citus: the tables and functions of a distributed ledger (`sql/`), and its setup.

The service's statements for a distributed ledger are in the files `*.citus.sql` of `store/sql`.
"""
