"""The relay: reads the log after the cursors, and publishes events to sinks, at least once and in order for each
user."""
