"""The processes of the service: the HTTP server with its workers, and the relay's process beside it."""
