"""A real Kubernetes API server on this machine, without containers.

Tests, the demo and benchmarks start it with ``ControlPlane``; a person starts it
with ``python -m tests.controlplane``. It is etcd and kube-apiserver alone: there is
no controller manager, so a deleted Namespace stays ``Terminating``, owner references
collect nothing, and a Namespace has no ``default`` ServiceAccount until one is made.
"""

from tests.controlplane.binaries import (
    Binaries,
    BinariesError,
    ChartTools,
    MonitoringTools,
    find_binaries,
    find_chart_tools,
    find_gitops_oracle,
    find_monitoring_tools,
)
from tests.controlplane.controlplane import ControlPlane, ControlPlaneError, KubectlError

__all__ = [
    "Binaries",
    "BinariesError",
    "ChartTools",
    "ControlPlane",
    "ControlPlaneError",
    "KubectlError",
    "MonitoringTools",
    "find_binaries",
    "find_chart_tools",
    "find_gitops_oracle",
    "find_monitoring_tools",
]
