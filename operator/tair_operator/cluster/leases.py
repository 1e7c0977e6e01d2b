"""The Lease by which replicas agree on one leader: read it, write it, wait until it changes.

Every write names the version that it replaces, so of two who write at the same
time one is refused. The times in a Lease are written for people and read by
nobody here: they come from the clock of another machine.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tair_operator.cluster.server import CONFLICT, FORBIDDEN, NOT_FOUND, Api, Body, ClusterConfigError, expect
from tair_operator.metrics.controller import count_request
from tair_operator.ports import ForbiddenError

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
MERGE_PATCH = "application/merge-patch+json"
# Not DELETED: who waits for a Lease to expire waits on when somebody deletes it.
_CHANGES = frozenset({"ADDED", "MODIFIED"})


def own_namespace(path: Path = NAMESPACE_FILE) -> str:
    """Return the namespace of the pod that this runs in.

    Raises:
        ClusterConfigError: this is no pod.

    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        message = "leader election outside a pod needs the namespace of the Lease: set TAIR_OPERATOR_LEASE_NAMESPACE"
        raise ClusterConfigError(message) from error


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as it is stored. ``holder`` is empty when nobody holds it; ``version`` when it was never stored."""

    holder: str
    duration: timedelta
    transitions: int = 0
    version: str = ""


@dataclass(frozen=True, slots=True)
class Leases:
    """Reads and writes one Lease; ``now`` returns the wall clock, for the times that people read."""

    api: Api
    namespace: str
    name: str
    now: Callable[[], datetime]

    async def read(self) -> Lease | None:
        """Read the Lease; None when there is none.

        Raises:
            ForbiddenError: the operator's ServiceAccount may not read it.
            ClusterUnavailableError: the API server did not answer.

        """
        code, body = await self.api.request("GET", f"{self._collection}/{quote(self.name)}")
        return None if code == NOT_FOUND else self._parse(code, body, "get")

    async def create(self, lease: Lease) -> Lease | None:
        """Create the Lease; None when somebody else did.

        Raises:
            ForbiddenError: the operator's ServiceAccount may not create Leases.
            ClusterUnavailableError: it may or may not have been created.

        """
        spec = self._spec(lease) | {"acquireTime": self._time()}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }
        code, answer = await self.api.request("POST", self._collection, body)
        return None if code == CONFLICT else self._parse(code, answer, "create")

    async def write(self, lease: Lease, *, is_acquired: bool = False) -> Lease | None:
        """Store the Lease, provided that the stored one is still of this very version; None when it is not.

        ``is_acquired`` says that its holder is a new one.

        Raises:
            ForbiddenError: the operator's ServiceAccount may not write it.
            ClusterUnavailableError: it may or may not have been written.

        """
        spec = self._spec(lease) | ({"acquireTime": self._time()} if is_acquired else {})
        # A merge patch keeps the labels and annotations that somebody put there.
        body = {"metadata": {"resourceVersion": lease.version}, "spec": spec}
        path = f"{self._collection}/{quote(self.name)}"
        code, answer = await self.api.request("PATCH", path, body, content_type=MERGE_PATCH)
        return None if code in {CONFLICT, NOT_FOUND} else self._parse(code, answer, "patch")

    async def has_changed(self, lease: Lease, within: timedelta) -> bool:
        """Wait for a version after this one; False when none was seen, because of the time or of a trouble."""
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self.name}",
            "resourceVersion": lease.version,
            "timeoutSeconds": str(ceil(within.total_seconds())),
        }
        timeout = aiohttp.ClientTimeout(total=within.total_seconds())
        server = self.api.server
        code: int | None = None
        try:
            headers = await server.headers()
            url = server.url + self._collection
            async with self.api.session.get(url, params=query, headers=headers, timeout=timeout) as answer:
                code = answer.status
                return _kind(await answer.content.readline()) in _CHANGES
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False
        finally:
            count_request("GET", server.host, code, None)

    @property
    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{quote(self.namespace)}/leases"

    def _spec(self, lease: Lease) -> Body:
        return {
            "holderIdentity": lease.holder,
            # Whole seconds in the API; a Lease that is said to last longer is only waited for longer.
            "leaseDurationSeconds": ceil(lease.duration.total_seconds()),
            "leaseTransitions": lease.transitions,
            "renewTime": self._time(),
        }

    def _time(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _parse(self, code: int, body: Body, verb: str) -> Lease:
        if code == FORBIDDEN:
            message = (
                f"the operator's ServiceAccount may not {verb} Lease {self.namespace}/{self.name}: grant it get, watch "
                f"and patch on this Lease and create on Leases in {self.namespace}, or set "
                "TAIR_OPERATOR_LEADER_ELECTION=false and run one replica"
            )
            raise ForbiddenError(message)
        stored = expect(code, body)
        spec: dict[str, Any] = stored.get("spec") or {}
        return Lease(
            holder=str(spec.get("holderIdentity") or ""),
            duration=timedelta(seconds=int(spec.get("leaseDurationSeconds") or 0)),
            transitions=int(spec.get("leaseTransitions") or 0),
            version=str(stored["metadata"]["resourceVersion"]),
        )


def _kind(line: bytes) -> object:
    event = json.loads(line) if line else None
    return event.get("type") if isinstance(event, dict) else None
