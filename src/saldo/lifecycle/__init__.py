"""Start and stop of processes: stop signals, and the end of background tasks."""
