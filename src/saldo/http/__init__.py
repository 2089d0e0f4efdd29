"""The HTTP API: routes, schemas and problems.

This package reads requests, writes responses, and contains the only mapping from outcomes to statuses. Decisions about
money and SQL do not belong here.
"""
