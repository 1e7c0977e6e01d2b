"""A rival for the benchmarks: what a team would write in an afternoon."""
