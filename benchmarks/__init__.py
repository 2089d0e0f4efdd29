"""Benchmarks of all performance that the project promises, each with a baseline. See docs/benchmarks."""
