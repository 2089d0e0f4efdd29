"""Every promise about speed, measured beside the limit it is held against. See docs/benchmarks."""
