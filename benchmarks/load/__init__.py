"""Load drivers, and the requests that they send."""
