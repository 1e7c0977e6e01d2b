"""Tests against a real kube-apiserver, started by tests/controlplane."""
