"""The same ledger on Citus: what the database has in other words there (`sql/`), and how it is brought there.

What the service asks a distributed ledger in other words stands in `store/sql/distributed`.
"""
