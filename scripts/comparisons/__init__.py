"""Tables and benchmarks of this library beside other software, for a clone: not installed."""
