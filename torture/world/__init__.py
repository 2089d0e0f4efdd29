"""All that runs: two services, two PostgreSQL servers, a broker, consumers, and the proxies between them.

disks       small file systems, one a server's data directory
postgresql  a primary and its synchronous standby; who is which changes
services    two services on them
consumers   who is told of every event
clocks      clocks that can be set, for the processes that are given one
world       all of it together: start, stop
"""
