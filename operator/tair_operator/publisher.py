"""Carries out what a plan says about the published endpoint, and knows what is published afterwards."""

import logging
from dataclasses import dataclass

from tair_operator.audit import facts
from tair_operator.models import TairInstance
from tair_operator.ports import Cluster, ClusterUnavailableError, ConflictError, ForbiddenError, NotOursError, Place
from tair_operator.stance import Plan, Publication
from tair_operator.status import Look, endpoint_to_publish
from tair_operator.subject import places_of

logger = logging.getLogger(__name__)


class UnpublishedError(Exception):
    """It could not be carried out; ``places`` are published all the same. The message says what to do."""

    def __init__(self, message: str, places: frozenset[Place]) -> None:
        super().__init__(message)
        self.places = places


@dataclass(slots=True)
class Publisher:
    """Publishes and withdraws, in the order that keeps clients served."""

    cluster: Cluster

    async def carry_out(self, resource: TairInstance, plan: Plan, look: Look) -> frozenset[Place]:
        """Publish or withdraw as the plan says, and return where the endpoint is published then.

        Raises:
            UnpublishedError: the operator may not, or the place is somebody else's.
            ConflictError: an object changed meanwhile.
            ClusterUnavailableError: Kubernetes did not answer.

        """
        places = set(places_of(resource.status.published))
        if plan.publication is Publication.KEEP:
            return frozenset(places)
        named = places_of(resource.spec.publish)
        wanted = named if plan.publication is Publication.PUBLISH else frozenset()
        failure: ForbiddenError | NotOursError | None = None
        for place in sorted(wanted):
            try:
                await self.cluster.publish(resource, place, *endpoint_to_publish(resource, look))
                places.add(place)
            except (ForbiddenError, NotOursError) as error:
                failure = error
        try:
            # Where a new place cannot be written, the old one is still good.
            for place in sorted((named | places) - wanted if failure is None else ()):
                await self.cluster.withdraw(resource, place)
                places.discard(place)
        except ForbiddenError as error:
            failure = error
        if isinstance(failure, NotOursError) and plan.waits_to_release:
            # A release that waits is worth more than a place that is taken: nothing of ours is there to be withdrawn.
            logger.warning("%s", failure, extra=facts(resource))
        elif failure is not None:
            raise UnpublishedError(str(failure), frozenset(places)) from failure
        return frozenset(places)

    async def restore(self, resource: TairInstance) -> None:
        """Publish again what was withdrawn for a release that nobody wants any more, as far as that is possible."""
        host, port = endpoint_to_publish(resource, Look())
        try:
            for place in sorted(places_of(resource.spec.publish)):
                await self.cluster.publish(resource, place, host, port)
        except (ForbiddenError, NotOursError) as error:
            logger.warning("What was withdrawn is not published again: %s", error, extra=facts(resource))

    async def take_back(self, resource: TairInstance, plan: Plan) -> None:
        """Withdraw what was published just now: status does not know of it, and the manifest may name another place."""
        known = places_of(resource.status.published)
        try:
            for place in sorted((plan.published or frozenset()) - known):
                await self.cluster.withdraw(resource, place)
        except (ForbiddenError, ConflictError, ClusterUnavailableError) as error:
            logger.warning("What was published is not taken back: %s", error, extra=facts(resource))
