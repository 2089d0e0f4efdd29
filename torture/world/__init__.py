"""The system under test: two services, two PostgreSQL servers, a broker, consumers, and proxies between them.

disks       small file systems, one for each server's data directory
postgresql  a primary and its synchronous standby, which change roles
services    two services on the database
consumers   consumers of every event
clocks      adjustable clocks, for the processes that are started with one
world       the whole system: start, stop
"""
