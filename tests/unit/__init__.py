"""Fast tests: no network, no processes of ours, no waiting."""
