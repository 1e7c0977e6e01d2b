"""One pass: read the resource, look at the cloud, decide, act, report.

The order is the safety protocol. An intent is stored, guarded by the version
that the decision was made on, before the one call that it announces; the answer
is stored, guarded by the intent's own id, before anything else. Whoever dies in
between leaves an operation that blocks every further call until it has settled.
"""

import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import ceil
from typing import Literal

from tair_operator import audit
from tair_operator.answers import Answers
from tair_operator.audit import facts
from tair_operator.fleet import Fleet
from tair_operator.listing import Listed
from tair_operator.memory import Memory, ReleaseBudgets
from tair_operator.models import FINALIZER, Action, Operation, Outcome, TairInstance
from tair_operator.operations import accepted, announce, failed, not_sent
from tair_operator.ownership import Ownership
from tair_operator.plan import decide, needs_look
from tair_operator.ports import (
    Clock,
    Cloud,
    CloudError,
    Cluster,
    ClusterRefusedError,
    ClusterUnavailableError,
    ConflictError,
    Detail,
    Event,
    ForbiddenError,
    Key,
    PreparedCall,
)
from tair_operator.proposal import withdrawn
from tair_operator.publisher import Publisher, UnpublishedError
from tair_operator.situation import Context, Grant, Policy
from tair_operator.stance import Plan, Publication, Stance
from tair_operator.status import Look, is_transition, is_worth_writing, next_status
from tair_operator.subject import (
    UNSETTLED,
    address_of,
    competes,
    holds_deletion,
    is_draining,
    ref_of,
    target_of,
    unsettled,
)

logger = logging.getLogger(__name__)

AT_ONCE = timedelta(0)
LOOK_MAX = timedelta(seconds=30)
"""A call rests on a look that is no older than this: preparing the call may take time."""
FENCE_SECONDS = 1.0
"""A call leaves within this time of its intent, or not at all: the manifest may have changed since."""


@dataclass(slots=True)
class Reconciler:
    """Runs passes. ``new_id`` returns a fresh random word; ``grant`` asks the access list.

    ``grant`` may have to read the namespace's labels, so it raises ClusterUnavailableError where that fails.
    """

    cluster: Cluster
    cloud: Cloud
    clock: Clock
    policy: Policy
    grant: Callable[[TairInstance], Awaitable[Grant]]
    new_id: Callable[[], str]
    looks_per_second: Callable[[], float] = lambda: float("inf")
    """How many looks the limiter lets through at present."""
    may_call: Callable[[], bool] = lambda: True
    """Whether this replica leads, and will for longer than a call takes."""
    is_shard: bool = False
    """Whether other operators serve some of the resources that may claim the same instances."""
    fleet: Fleet = field(init=False)
    answers: Answers = field(init=False)
    _memory: Memory = field(init=False)
    _budgets: ReleaseBudgets = field(init=False)
    _publisher: Publisher = field(init=False)

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.clock.now)
        self._memory = Memory(self.policy.settle)
        self._budgets = ReleaseBudgets(self.policy.release_budget, self.policy.release_budget_window)
        self._publisher = Publisher(self.cluster)
        self.answers = Answers(self.cluster, self.fleet)

    @property
    def _ownership(self) -> Ownership:
        return Ownership(self.cluster, self.clock, self.grant, self._memory, self.is_shard)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Run one pass and return when to look again; None to wait for an event.

        Raises:
            ConflictError: the resource changed meanwhile; nothing was called.
            ClusterUnavailableError: Kubernetes did not answer, or refused to store what became of a call.

        """
        await self.answers.catch_up(key)
        resource = await self.cluster.get(key)
        if resource is None:
            self._memory.gone(key)
            self.fleet.gone(key)
            return None
        grant, unheld = await self._note(resource), None
        try:
            resource = await self._hold(resource)
        except ForbiddenError as error:
            unheld = str(error)
        if resource is None:
            return None
        if grant.verbs:
            await self._ownership.refresh(resource)
        context = replace(await self._context(resource, grant), unheld=unheld)
        look = await self._look(resource, context)
        plan = self._decide(resource, look, context)
        while plan.asks:
            look, context = await self._look_closer(resource, look, context, plan.asks)
            plan = self._decide(resource, look, context)
        if plan.action is not None:
            return await self._approach(resource, look, context, plan.action)
        return await self._report(resource, plan, look, context)

    async def learn(self, pages: AsyncIterable[list[TairInstance]]) -> list[Listed]:
        """Take in a complete LIST: what other resources claim and have released, and what is gone."""
        listed = []
        async for page in pages:
            for resource in page:
                await self._note(resource, is_listed=True)
                listed.append(Listed.of(resource, self.clock.now()))
        self.policy = replace(self.policy, resync_floor=self._resync_floor(len(listed)))
        self._memory.forget_all_but(listed, self.clock.monotonic())
        self._budgets.forget_all_but(listed)
        self.fleet.forget_all_but(listed)
        return listed

    def _resync_floor(self, count: int) -> timedelta:
        """Return the interval in which half of what the limiter lets through is enough to look at everything."""
        # In whole minutes, or each resource's own instant would move with every change of the rate.
        return timedelta(minutes=ceil(count / (self.looks_per_second() / 2) / 60)) if count else timedelta(0)

    async def _note(self, resource: TairInstance, *, is_listed: bool = False) -> Grant:
        self.fleet.note(resource)
        grant = await self.grant(resource)
        is_served = bool(grant.verbs) and competes(resource)
        self._memory.note(resource, self.clock.monotonic(), is_served=is_served, is_listed=is_listed)
        self._budgets.note(resource)
        return grant

    async def _hold(self, resource: TairInstance) -> TairInstance | None:
        """Keep the finalizer as the manifest says; None when nothing is left to do for the resource."""
        has = FINALIZER in resource.metadata.finalizers
        is_being_deleted = resource.metadata.deletion_timestamp is not None
        wants = holds_deletion(resource)
        if wants != has:
            if is_being_deleted and is_draining(resource.status.plan) and unsettled(resource) is None:
                # First status forgets the drain, as in a report.
                forgotten = resource.status.model_copy(update={"plan": None})
                resource = await self.cluster.write_status(resource, forgotten)
                await self._publisher.restore(resource)
            changed = await self.cluster.write_finalizer(resource, is_wanted=wants)
            if changed is None or is_being_deleted:
                # Whatever else holds it, its own call is followed to the end in the next pass.
                return None
            return changed
        return None if is_being_deleted and not wants and unsettled(resource) is None else resource

    async def _context(self, resource: TairInstance, grant: Grant) -> Context:
        operation, refusal, now = resource.status.operation, None, self.clock.monotonic()
        if operation is not None and operation.code is not None:
            refusal = self.cloud.classify(operation.code, operation.http_status)
        owner = self._memory.older_claim(resource)
        return Context(
            policy=self.policy,
            grant=grant,
            seen=self._memory.ages(resource.metadata.uid, now),
            refusal=refusal,
            owner=None if owner is None else str(owner),
            owned_for=self._memory.owned_for(resource, now),
            budget_wait=self._budgets.of(resource).wait(self.clock.now(), resource.metadata.uid),
            stranger=self._memory.call_of_another(ref_of(resource), resource.metadata.uid, now),
            is_namespace_terminating=await self._is_namespace_terminating(resource),
        )

    async def _is_namespace_terminating(self, resource: TairInstance) -> bool:
        """Ask only where the answer counts: while a deletion is held."""
        if resource.metadata.deletion_timestamp is None:
            return False
        try:
            namespace = await self.cluster.read_namespace(resource.metadata.namespace)
        except ForbiddenError as error:
            logger.warning("%s", error, extra=facts(resource))
            return False
        return namespace is None or namespace.is_terminating

    async def _look(self, resource: TairInstance, context: Context) -> Look:
        if not needs_look(resource, context):
            return Look()
        # Before it is sent: a look shows nothing that happened after that.
        began = self.clock.monotonic(), self.clock.boottime()
        try:
            return Look(await self.cloud.observe(target_of(resource)), began=began)
        except CloudError as error:
            return Look(error=error)

    async def _look_closer(
        self, resource: TairInstance, look: Look, context: Context, details: frozenset[Detail]
    ) -> tuple[Look, Context]:
        if look.observation is None:
            raise RuntimeError("asked for details of an instance that was not seen")
        try:
            closer = await self.cloud.look_closer(target_of(resource), look.observation, details)
            return replace(look, observation=closer), context
        except CloudError as error:
            return replace(look, error=error), replace(context, obstacle=error)

    def _decide(self, resource: TairInstance, look: Look, context: Context) -> Plan:
        return decide(resource, look.observation or look.error, context, self.clock.now())

    async def _approach(self, resource: TairInstance, look: Look, context: Context, action: Action) -> timedelta | None:
        """Come close to a call: wait for what it needs, ask live who else claims the instance, decide again."""
        plan, published = self._decide(resource, look, context), None
        if resource.status.published is not None or is_draining(resource.status.plan):
            # An endpoint that somebody released is gone, and status is about to say that it is not published.
            plan = await self._publish(resource, plan, look, context)
            published = plan.published
        if plan.action is not action:
            return await self._report(resource, plan, look, context)
        try:
            call = await self.cloud.prepare(action, target_of(resource), address_of(resource))
        except CloudError as error:
            context = replace(context, obstacle=error)
            plan = self._decide(resource, look, context)
            return await self._report(resource, plan, replace(look, error=error), context)
        # Preparing took its time. Who claims the instance, and what is permitted, is asked right before the call.
        context = await self._ownership.ask(resource, context)
        grant = await self.grant(resource)
        if look.observation is None or look.age(self.clock) > LOOK_MAX:
            logger.warning("The look grew old while its call was prepared; another one follows", extra=facts(resource))
            return AT_ONCE
        budget_wait = self._budgets.of(resource).wait(self.clock.now(), resource.metadata.uid)
        context = replace(context, grant=grant, budget_wait=budget_wait)
        plan = replace(self._decide(resource, look, context), published=published)
        if plan.action is not action:
            return await self._report(resource, plan, look, context)
        return await self._act(resource, plan, action, call, look)

    async def _report(self, resource: TairInstance, plan: Plan, look: Look, context: Context) -> timedelta | None:
        plan = self._take_place(resource, plan, look, context)
        is_back = plan.publication is Publication.PUBLISH and is_draining(resource.status.plan)
        if is_back and plan.stance is not Stance.SUSPENDED:
            # First status has to forget the drain, or whoever reads it after a crash would release what is published.
            plan = replace(plan, publication=Publication.KEEP, requeue_after=AT_ONCE, lets_go=False)
        # Before status says so.
        plan = await self._publish(resource, plan, look, context)
        self._memory.keep(resource.metadata.uid, plan.holds, self.clock.monotonic())
        status = next_status(resource, plan, look, self.clock.now())
        is_news = is_worth_writing(resource.status, status)
        is_worth_telling = is_news and is_transition(resource.status, status)
        if is_news:
            try:
                resource = await self.cluster.write_status(resource, status)
            except ConflictError:
                await self._publisher.take_back(resource, plan)
                raise
            self._budgets.note(resource)
            self.fleet.note(resource)
            level = logging.WARNING if plan.stance is Stance.STALLED else logging.INFO
            logger.log(level, "%s: %s", plan.reason, plan.message, extra=facts(resource))
        # Only now: the next pass starts from what is stored.
        if plan.outcome is not None and plan.outcome not in UNSETTLED:
            self._memory.call_over(ref_of(resource), resource.metadata.uid)
        if is_worth_telling:
            kind: Literal["Normal", "Warning"] = "Warning" if plan.stance is Stance.STALLED else "Normal"
            await self.cluster.post_event(resource, Event(kind, plan.reason, plan.message))
        if plan.lets_go and FINALIZER in resource.metadata.finalizers and context.unheld is None:
            try:
                await self.cluster.write_finalizer(resource, is_wanted=False)
            except ForbiddenError as error:
                context = replace(context, unheld=str(error))
                return await self._report(resource, self._decide(resource, look, context), look, context)
            logger.info("Let go: %s", plan.message, extra=facts(resource))
        return plan.requeue_after

    async def _publish(self, resource: TairInstance, plan: Plan, look: Look, context: Context) -> Plan:
        """Publish or withdraw as the plan says; decide again where that cannot be done."""
        try:
            places = await self._publisher.carry_out(resource, plan, look)
        except UnpublishedError as error:
            plan, places = self._decide(resource, look, replace(context, unpublished=str(error))), error.places
        if is_draining(plan.planned) and not is_draining(resource.status.plan):
            # Withdrawing took its time, which is not part of the drain.
            plan = replace(plan, planned=withdrawn(plan.planned, self.clock.now()))
        return replace(plan, published=places)

    def _take_place(self, resource: TairInstance, plan: Plan, look: Look, context: Context) -> Plan:
        """Take a place in the budget before clients are told to go: several may have seen the last one free."""
        if not is_draining(plan.planned) or unsettled(resource) is not None:
            return plan
        budget_wait = self._budgets.of(resource).wait(self.clock.now(), resource.metadata.uid)
        if budget_wait is not None:
            plan = self._decide(resource, look, replace(context, budget_wait=budget_wait))
        if is_draining(plan.planned):
            self._budgets.of(resource).hold_place(resource.metadata.uid)
        return plan

    async def _act(
        self, resource: TairInstance, plan: Plan, action: Action, call: PreparedCall, look: Look
    ) -> timedelta:
        """Announce, call, record. The three are one: nothing but the call may come between them."""
        if not self.may_call():
            # Not even the intent: whoever leads by now would have to wait for it to settle.
            logger.warning("No call: this replica does not lead, or not for long enough", extra=facts(resource))
            return timedelta(seconds=FENCE_SECONDS)
        ref, uid = ref_of(resource), resource.metadata.uid
        is_overtaken = self._memory.called_since(ref, uid, look.began[0])
        if is_overtaken or self._memory.call_of_another(ref, uid, self.clock.monotonic()) is not None:
            # Made while this call was prepared, for another resource on the same instance.
            return timedelta(seconds=FENCE_SECONDS)
        now = self.clock.now()
        seen = look.observation.instance if look.observation is not None else None
        operation = announce(
            resource, action, now, new_id=self.new_id(), corrects_drift=plan.corrects_drift, instance=seen
        )
        # Before any await: two workers must not both see the last place in the budget, or both act on one instance.
        self._budgets.of(resource).count(operation)
        self._memory.call_made(ref, uid, operation, self.clock.monotonic())
        status = next_status(resource, plan, look, now, intent=operation)
        fence = _Fence(self.clock)
        try:
            stored = await self.cluster.write_status(resource, status)
        except (ConflictError, ClusterRefusedError):
            self._call_off(resource, not_sent(operation, now, "the intent was not stored"))
            raise
        except ClusterUnavailableError:
            # It may have been stored. Not one byte of the call was sent, and this says so.
            await self._settle(resource, not_sent(operation, self.clock.now(), "the intent was not confirmed"))
            raise
        if stored.metadata.resource_version == resource.metadata.resource_version:
            self._call_off(resource, not_sent(operation, now, "the intent changed nothing"))
            raise ConflictError(f"the intent for {resource.metadata.name} changed nothing")
        if fence.is_late():
            late = "storing the intent took too long, and the manifest may have changed since"
            answered = not_sent(operation, self.clock.now(), late)
        elif not self.may_call():
            answered = not_sent(operation, self.clock.now(), "this replica no longer leads for as long as a call takes")
        else:
            audit.record(resource, operation)
            # No await may come between the intent and this call.
            answered = await self._send(call, operation)
        await self._settle(resource, answered)
        return _next_look(answered)

    def _call_off(self, resource: TairInstance, operation: Operation) -> None:
        """Take back what was noted of a call whose intent is certainly not stored."""
        self._budgets.of(resource).count(operation)
        self._memory.call_over(ref_of(resource), resource.metadata.uid)

    async def _send(self, call: PreparedCall, operation: Operation) -> Operation:
        try:
            answer = await call.send()
        except CloudError as error:
            return failed(operation, error, self.clock.now())
        return accepted(operation, answer)

    async def _settle(self, resource: TairInstance, operation: Operation) -> None:
        self._budgets.of(resource).count(operation)
        if operation.finished_at is not None:
            self._memory.call_over(ref_of(resource), resource.metadata.uid)
        # Before it is stored, which may take long or never happen: Kubernetes may be down.
        audit.record(resource, operation)
        await self.answers.record(resource, operation)


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
