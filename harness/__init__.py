"""Servers, processes, clients and databases that the tests, the benchmarks and the torture suite share."""
