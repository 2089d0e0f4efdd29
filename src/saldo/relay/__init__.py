"""Reads the log from cursors and publishes it to sinks: at least once, in order per user."""
