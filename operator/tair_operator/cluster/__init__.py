"""Kubernetes, the adapter: what the operator reads and writes there.

``server`` finds the API server and sends a request. ``resources`` reads
TairInstances and is the only writer of their status, ``publications`` writes the
Secret and the ConfigMap that a resource asks for, and ``identities`` reads what
credentials and permissions are made of: Secrets, ServiceAccounts, namespaces.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tair_operator.cluster.identities import Identities
from tair_operator.cluster.publications import Publications
from tair_operator.cluster.resources import Resources
from tair_operator.cluster.server import Api, ApiServer, ClusterConfigError, find_api_server, open_api
from tair_operator.scope import WHOLE_CLUSTER, Scope

__all__ = [
    "ApiServer",
    "ClusterConfigError",
    "KubernetesCluster",
    "find_api_server",
    "open_cluster",
]


@dataclass
class KubernetesCluster(Resources, Publications, Identities):
    """Implements ``ports.Cluster`` and ``ports.Identities`` on a real API server."""

    api: Api
    scope: Scope = WHOLE_CLUSTER


@asynccontextmanager
async def open_cluster(server: ApiServer, scope: Scope = WHOLE_CLUSTER) -> AsyncIterator[KubernetesCluster]:
    """Open the one session to the API server, for as long as the context lasts."""
    async with open_api(server) as api:
        yield KubernetesCluster(api, scope)
