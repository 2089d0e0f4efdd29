"""Connections to PostgreSQL: their URLs and parameters, pools, and the check of the server at the other end."""
