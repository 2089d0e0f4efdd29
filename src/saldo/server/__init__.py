"""The processes of the service: the HTTP server with its workers, and the separate process of the relays."""
