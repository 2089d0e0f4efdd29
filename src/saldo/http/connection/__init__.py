"""HTTP connections: the protocol, timeouts, load shedding, and responses to requests that can't be parsed."""
