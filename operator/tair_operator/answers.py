"""Brings what became of a call into the status, also where Kubernetes refuses to store it at first.

An answer that waits for a Role, or for the CRD, waits here and not in a worker:
as many refusals as there are workers would stop the operator. Its own resource
stays blocked by the intent until then, the others go on.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from tair_operator.audit import facts
from tair_operator.fleet import Fleet
from tair_operator.models import Operation, TairInstance
from tair_operator.operations import event_of
from tair_operator.ports import Cluster, ClusterRefusedError, Key
from tair_operator.subject import key_of

logger = logging.getLogger(__name__)

LAST_TRY_SECONDS = 5.0
"""How long a process that ends may try to store what it owes."""


@dataclass(slots=True)
class Answers:
    """Stores answers, and keeps those that are owed. What a process owes at its end, nobody will know any more."""

    cluster: Cluster
    fleet: Fleet
    _owed: dict[Key, tuple[TairInstance, Operation]] = field(default_factory=dict)

    async def record(self, resource: TairInstance, operation: Operation) -> None:
        """Store what became of a call.

        Raises:
            ClusterRefusedError: Kubernetes will not store it before somebody mends something; it is owed from now on.

        """
        self._owed[key_of(resource)] = resource, operation
        try:
            is_stored = await self.cluster.write_answer(resource, operation)
        except ClusterRefusedError as error:
            words = f"{operation.action}, {operation.outcome}, RequestId {operation.request_id}"
            message = f"{words}: not recorded in the status yet: {error}"
            raise ClusterRefusedError(message) from error
        del self._owed[key_of(resource)]
        if not is_stored:
            logger.warning("The resource has moved on; its status does not show this call", extra=facts(resource))
        # After it is stored: whoever finds no answer counts the call as one of unknown outcome.
        self.fleet.answered(resource, operation)
        await self.cluster.post_event(resource, event_of(operation))

    async def catch_up(self, key: Key) -> None:
        """Store the answer that is owed to a resource, before anything else happens to it.

        Raises:
            ClusterRefusedError: as ``record``.

        """
        if key in self._owed:
            await self.record(*self._owed[key])

    async def settle_up(self) -> None:
        """Try a last time to store what is owed; what is refused again, the log tells."""
        try:
            async with asyncio.timeout(LAST_TRY_SECONDS):
                for key in list(self._owed):
                    try:
                        await self.catch_up(key)
                    except ClusterRefusedError as error:
                        logger.warning("%s; this process ends without it", error, extra={"resource": str(key)})
        except TimeoutError:
            logger.warning("Kubernetes does not answer; %d answers are not recorded in a status", len(self._owed))
