"""One pass: read the resource, look at the cloud, decide, act, report.

The order is the safety protocol. An intent is stored, guarded by the version
that the decision was made on, before the one call that it announces; the answer
is stored, guarded by the intent's own id, before anything else. Whoever dies in
between leaves an operation that blocks every further call until it has settled.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tair_operator.models import Action, Operation, Outcome, TairInstance
from tair_operator.operations import accepted, announce, failed, not_sent
from tair_operator.plan import decide, needs_look, owner_of
from tair_operator.ports import (
    Clock,
    Cloud,
    CloudError,
    Cluster,
    ClusterUnavailableError,
    ConflictError,
    InstanceRef,
    Key,
    PreparedCall,
)
from tair_operator.situation import UNSETTLED, Context, Grant, Policy
from tair_operator.stance import Plan, Stance
from tair_operator.status import Look, is_worth_writing, next_status

logger = logging.getLogger(__name__)

AT_ONCE = timedelta(0)
LOOK_MAX = timedelta(seconds=30)
"""A call rests on a look that is no older than this: waiting for the limiter may take time."""
FENCE_SECONDS = 1.0
"""A call leaves within this time of its intent, or not at all: the manifest may have changed since."""


@dataclass(slots=True)
class _Memory:
    """Since when the facts that a plan named have been true, on the monotonic clock. Lost with the process."""

    _since: dict[str, dict[str, float]] = field(default_factory=dict)

    def ages(self, uid: str, now: float) -> dict[str, timedelta]:
        return {fact: timedelta(seconds=now - since) for fact, since in self._since.get(uid, {}).items()}

    def keep(self, uid: str, facts: frozenset[str], now: float) -> None:
        known = self._since.pop(uid, {})
        if facts:
            self._since[uid] = {fact: known.get(fact, now) for fact in facts}

    def forget_all_but(self, uids: set[str]) -> None:
        for uid in self._since.keys() - uids:
            del self._since[uid]


@dataclass(slots=True)
class Reconciler:
    """Runs passes. ``new_id`` returns a fresh random word; ``grant`` asks the access list."""

    cluster: Cluster
    cloud: Cloud
    clock: Clock
    policy: Policy
    grant: Callable[[TairInstance], Grant]
    new_id: Callable[[], str]
    _memory: _Memory = field(default_factory=_Memory)
    _in_flight: dict[InstanceRef, tuple[str, Operation, float]] = field(default_factory=dict)
    """The calls that have not settled: for which uid, which call, since when. A namesake starts without a status."""

    async def reconcile(self, key: Key) -> timedelta | None:
        """Run one pass and return when to look again; None to wait for an event.

        Raises:
            ConflictError: the resource changed meanwhile; nothing was called.
            ClusterUnavailableError: Kubernetes did not answer.

        """
        resource = await self.cluster.get(key)
        if resource is None or (resource.metadata.deletion_timestamp is not None and not _is_under_way(resource)):
            return None
        context = self._context(resource)
        look = await self._look(resource, context)
        plan = self._decide(resource, look, context)
        if plan.action is not None:
            context = await self._ask_for_obstacles(resource, context)
            plan = self._decide(resource, look, context)
        call: PreparedCall | None = None
        if plan.action is not None:
            try:
                call = await self.cloud.prepare(plan.action, _ref(resource))
                # Withdrawing a permission is the emergency brake: it works up to here.
                plan = self._decide(resource, look, replace(context, grant=self.grant(resource)))
            except CloudError as error:
                look = replace(look, error=error)
                plan = self._decide(resource, look, replace(context, obstacle=error))
        self._remember(resource, plan)
        if call is not None and plan.action is not None:
            if look.observation is None or self.clock.now() - look.observation.sent_at > LOOK_MAX:
                logger.warning(
                    "Waiting for the limiter took so long that another look is needed", extra=_facts(resource)
                )
                return AT_ONCE
            return await self._act(resource, plan, plan.action, call, look)
        await self._report(resource, plan, look)
        return plan.requeue_after

    def forget_all_but(self, uids: set[str]) -> None:
        """Drop what is remembered of resources that are gone."""
        self._memory.forget_all_but(uids)

    def _context(self, resource: TairInstance) -> Context:
        operation, refusal = resource.status.operation, None
        if operation is not None and operation.code is not None:
            refusal = self.cloud.classify(operation.code, operation.http_status)
        return Context(
            policy=self.policy,
            grant=self.grant(resource),
            seen=self._memory.ages(resource.metadata.uid, self.clock.monotonic()),
            refusal=refusal,
            stranger=self._stranger(resource),
        )

    def _stranger(self, resource: TairInstance) -> tuple[Operation, timedelta] | None:
        """Return the call in flight on this instance, if it was made for a resource that is not this one."""
        uid, operation, since = self._in_flight.get(_ref(resource), (resource.metadata.uid, None, 0.0))
        if operation is None or uid == resource.metadata.uid:
            return None
        return operation, timedelta(seconds=self.clock.monotonic() - since)

    def _remember(self, resource: TairInstance, plan: Plan) -> None:
        """Keep since when the facts of the plan are true, and forget the call in flight once it has settled."""
        self._memory.keep(resource.metadata.uid, plan.holds, self.clock.monotonic())
        uid, *_ = self._in_flight.get(_ref(resource), (None,))
        is_over = plan.outcome is not None and plan.outcome not in UNSETTLED
        stranger = self._stranger(resource)
        is_old = stranger is not None and stranger[1] >= self.policy.settle
        if (uid == resource.metadata.uid and is_over) or is_old:
            del self._in_flight[_ref(resource)]

    async def _look(self, resource: TairInstance, context: Context) -> Look:
        if not needs_look(resource, context):
            return Look()
        try:
            return Look(await self.cloud.observe(_ref(resource)))
        except CloudError as error:
            return Look(error=error)

    def _decide(self, resource: TairInstance, look: Look, context: Context) -> Plan:
        return decide(resource, look.observation or look.error, context, self.clock.now())

    async def _ask_for_obstacles(self, resource: TairInstance, context: Context) -> Context:
        """Ask, right before a call, who else claims the instance. Only those compete whom the access list serves."""
        claims = await self.cluster.claims(resource.spec.instance_id)
        owner = owner_of(claim for claim in claims if self.grant(claim).verbs)
        if owner is None or owner.metadata.uid == resource.metadata.uid:
            return context
        return replace(context, owner=f"{owner.metadata.namespace}/{owner.metadata.name}")

    async def _report(self, resource: TairInstance, plan: Plan, look: Look) -> None:
        status = next_status(resource, plan, look, self.clock.now())
        if not is_worth_writing(resource.status, status):
            return
        await self.cluster.write_status(resource, status)
        level = logging.WARNING if plan.stance is Stance.STALLED else logging.INFO
        logger.log(level, "%s: %s", plan.reason, plan.message, extra=_facts(resource))

    async def _act(
        self, resource: TairInstance, plan: Plan, action: Action, call: PreparedCall, look: Look
    ) -> timedelta:
        """Announce, call, record. The three are one: nothing but the call may come between them."""
        now = self.clock.now()
        operation = announce(resource, action, now, new_id=self.new_id(), corrects_drift=plan.corrects_drift)
        status = next_status(resource, plan, look, now, intent=operation)
        fence = _Fence(self.clock)
        try:
            stored = await self.cluster.write_status(resource, status)
        except ClusterUnavailableError:
            # It may have been stored. Not one byte of the call was sent, and this says so.
            await self._settle(resource, not_sent(operation, self.clock.now(), "the intent was not confirmed"))
            raise
        if stored.metadata.resource_version == resource.metadata.resource_version:
            message = f"the intent for {resource.metadata.name} changed nothing"
            raise ConflictError(message)
        if fence.is_late():
            late = "storing the intent took too long, and the manifest may have changed since"
            answered = not_sent(operation, self.clock.now(), late)
        else:
            self._in_flight[_ref(resource)] = (resource.metadata.uid, operation, self.clock.monotonic())
            # No await may come between the intent and this call.
            answered = await self._send(call, operation)
            if answered.finished_at is not None:
                del self._in_flight[_ref(resource)]
        await self._settle(resource, answered)
        return _next_look(answered)

    async def _send(self, call: PreparedCall, operation: Operation) -> Operation:
        try:
            answer = await call.send()
        except CloudError as error:
            return failed(operation, error, self.clock.now())
        return accepted(operation, answer)

    async def _settle(self, resource: TairInstance, operation: Operation) -> None:
        facts = _facts(resource) | {
            "action": operation.action,
            "operation_id": operation.id,
            "outcome": operation.outcome,
            "request_id": operation.request_id,
            "code": operation.code,
        }
        # Before it is stored, which may take long or never happen: Kubernetes may be down.
        logger.info("%s: %s", operation.action, operation.outcome, extra=facts)
        if not await self.cluster.write_answer(resource, operation):
            logger.warning("The resource has moved on; its status does not show this call", extra=facts)


class _Fence:
    """Tells whether too much time passed since the intent was begun, a sleeping machine included."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic, self._boottime = clock.monotonic(), clock.boottime()

    def is_late(self) -> bool:
        passed = max(self._clock.monotonic() - self._monotonic, self._clock.boottime() - self._boottime)
        return passed > FENCE_SECONDS


def _next_look(operation: Operation) -> timedelta:
    """Look at once after a failure, to report it; give an accepted change a second to show."""
    return timedelta(seconds=1) if operation.outcome is Outcome.ACCEPTED else AT_ONCE


def _is_under_way(resource: TairInstance) -> bool:
    operation = resource.status.operation
    return operation is not None and operation.outcome in UNSETTLED


def _ref(resource: TairInstance) -> InstanceRef:
    return InstanceRef(resource.spec.instance_id, resource.spec.region_id)


def _facts(resource: TairInstance) -> dict[str, object]:
    metadata = resource.metadata
    return {
        "resource": f"{metadata.namespace}/{metadata.name}",
        "uid": metadata.uid,
        "generation": metadata.generation,
        "instance_id": resource.spec.instance_id,
    }
