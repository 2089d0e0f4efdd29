"""Saldo under faults: what clients saw, a checker that knows nothing of the service, and the faults."""
