"""The benchmarks of the suite: each measures one subject and yields its rows."""
