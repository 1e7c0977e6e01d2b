"""The operator's metrics: what ``/metrics`` tells.

``controller`` has the names that controller-runtime made known, so dashboards
written for Go operators read them as they are; ``own`` has what only this
operator can tell; ``exposition`` holds the registry and renders it. No request
id, instance id, resource name or namespace is ever a label, and what a user or
the cloud can choose freely becomes a label only through a closed list.
"""

from tair_operator.metrics import controller, own
from tair_operator.metrics.exposition import OTHER, Described, catalogue, expose, registry

__all__ = ["OTHER", "Described", "catalogue", "controller", "expose", "own", "registry"]
