"""Events for other services: their content, their positions in the log, and the live stream."""
