"""The relay: reads the log from cursors and publishes it to sinks, at least once and in order for each user."""
