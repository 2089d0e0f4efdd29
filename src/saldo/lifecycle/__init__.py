"""Start and stop of processes: stop signals, and the end of background tasks.

The section "Shutdown" of ARCHITECTURE.md gives the order in which a service stops, and the files that keep it.
"""
