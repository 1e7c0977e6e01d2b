"""Who owns an instance that several resources name: the live answer, from the operator's whole scope.

What the process knows by heart comes from its own resources. Where others serve
the rest of the same namespaces, that is not all there is: no event tells of
their resources, so these are asked for before anything is said or called that
another shard might say or call as well.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tair_operator.memory import Memory
from tair_operator.models import Reason, TairInstance
from tair_operator.plan import owner_of
from tair_operator.ports import Clock, Cluster
from tair_operator.situation import Context, Grant
from tair_operator.subject import competes, ref_of, unsettled


@dataclass(frozen=True, slots=True)
class Ownership:
    """Asks Kubernetes for the claims on an instance; ``is_shard`` says that other operators serve some of them."""

    cluster: Cluster
    clock: Clock
    grant: Callable[[TairInstance], Awaitable[Grant]]
    memory: Memory
    is_shard: bool

    async def refresh(self, resource: TairInstance) -> None:
        """Learn who else claims the instance, unless this resource is at rest or its own call blocks everything else.

        Raises:
            ClusterUnavailableError: the API server did not answer, so nobody knows.

        """
        if self.is_shard and not _is_at_rest(resource) and unsettled(resource) is None:
            await self._claims(resource)

    async def ask(self, resource: TairInstance, context: Context) -> Context:
        """Ask who owns the instance, right before a call.

        Before a deletion releases, everybody counts who is not being deleted, served or not: letting go harms nobody.

        Raises:
            ClusterUnavailableError: the API server did not answer, so nobody knows.

        """
        claims, uid = await self._claims(resource), resource.metadata.uid
        if resource.metadata.deletion_timestamp is not None:
            owner = owner_of(claim for claim in claims if claim.metadata.uid != uid)
        else:
            owner = owner_of([claim for claim in claims if await self._is_rival(claim)])
        if owner is not None and owner.metadata.uid != uid:
            context = replace(context, owner=f"{owner.metadata.namespace}/{owner.metadata.name}")
        now = self.clock.monotonic()
        return replace(
            context,
            owned_for=self.memory.owned_for(resource, now),
            stranger=self.memory.call_of_another(ref_of(resource), uid, now),
        )

    async def _claims(self, resource: TairInstance) -> list[TairInstance]:
        claims = await self.cluster.claims(resource.spec.instance_id)
        if self.is_shard:
            others = [claim for claim in claims if claim.metadata.uid != resource.metadata.uid]
            staying = [other for other in others if other.metadata.deletion_timestamp is None]
            rivals = [other for other in staying if await self._is_rival(other)]
            now = self.clock.monotonic()
            self.memory.note_others(resource, rivals, now)
            for other in others:
                self.memory.note_call_of(other, now)
        return claims

    async def _is_rival(self, claim: TairInstance) -> bool:
        """Only those compete whom the access list serves, or, where another shard has its own list, may serve."""
        if not competes(claim):
            return False
        return bool((await self.grant(claim)).verbs) or (self.is_shard and not _is_refused(claim))


def _is_refused(claim: TairInstance) -> bool:
    """Whether the shard that serves a resource has refused it by its access list."""
    ready = claim.status.condition("Ready")
    return ready is not None and ready.reason == Reason.ACCESS_NOT_ALLOWED


def _is_at_rest(resource: TairInstance) -> bool:
    """Whether a resource was ready when it was last looked at, which it is not while another one owns its instance."""
    status, metadata = resource.status, resource.metadata
    ready = status.condition("Ready")
    is_ready = ready is not None and ready.status == "True"
    return is_ready and status.observed_generation == metadata.generation and metadata.deletion_timestamp is None
