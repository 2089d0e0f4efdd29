"""The HTTP contract: routes, wire forms, problems.

What belongs here: reading requests, writing answers, and the one mapping from outcome to status.
What does not: a decision about money, SQL.
"""
