"""The tests; a package, since some distributions install a top-level `tests` that would hide ours."""
