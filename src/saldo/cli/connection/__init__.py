"""The connection of a command: to a service, to a temporary service of its own, or to the database."""
