"""What the process knows by heart and loses with its end: since when, whose call, who else.

What a restart must know is in the status of each resource, but for one thing: a
call whose resource was deleted before its namesake was first looked at.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from tair_operator.listing import Listed
from tair_operator.models import Action, Operation, Outcome, TairInstance
from tair_operator.ports import InstanceRef, Key, Principal
from tair_operator.subject import has_worked, is_draining, key_of, seniority, target_of, unsettled

LAST_CALL_KEPT = 3600.0
"""For how many seconds the last call on an instance is remembered. The next one rests on a look that is seconds
old, and nobody asks about what was before that look."""


class _Claim(NamedTuple):
    seniority: tuple[str, str]
    key: Key
    is_taking_over: bool
    """Whether its status says that there is, or was a moment ago, another owner."""

    @property
    def uid(self) -> str:
        return self.seniority[1]


class _Call(NamedTuple):
    uid: str
    operation: Operation
    since: float


class _Ownership(NamedTuple):
    uid: str
    since: float
    is_taken_over: bool


@dataclass(slots=True)
class Memory:
    """Times are seconds of the monotonic clock."""

    settle: timedelta
    _facts: dict[str, dict[str, float]] = field(default_factory=dict)
    _calls: dict[InstanceRef, _Call] = field(default_factory=dict)
    _last: dict[InstanceRef, tuple[str, float]] = field(default_factory=dict)
    """Who made the last call on an instance, and when: that it is over makes no older look true."""
    _claims: dict[str, dict[str, _Claim]] = field(default_factory=dict)
    _elsewhere: dict[str, dict[str, _Claim]] = field(default_factory=dict)
    """The other claims of an instance as they were when somebody asked last: no event tells of other shards."""
    _names: dict[Key, tuple[str, str]] = field(default_factory=dict)
    _owners: dict[str, _Ownership] = field(default_factory=dict)
    """Kept for good, a few hundred bytes for each instance that was ever served. The last owner may have left for
    another shard and act there; nobody tells when it is gone, and whoever comes after it here has to wait all the same.
    """

    # --- since when facts are true ---

    def ages(self, uid: str, now: float) -> dict[str, timedelta]:
        """Return for how long the facts that the last plan named have been true."""
        return {fact: timedelta(seconds=now - since) for fact, since in self._facts.get(uid, {}).items()}

    def keep(self, uid: str, facts: frozenset[str], now: float) -> None:
        """Go on timing these facts, and begin with those that are new."""
        known = self._facts.pop(uid, {})
        if facts:
            self._facts[uid] = {fact: known.get(fact, now) for fact in facts}

    # --- calls that have not settled ---

    def call_made(self, ref: InstanceRef, uid: str, operation: Operation, now: float) -> None:
        """Remember a call until ``call_over``."""
        self._calls[ref] = _Call(uid, operation, now)
        self._last[ref] = (uid, now)

    def called_since(self, ref: InstanceRef, uid: str, since: float) -> bool:
        """Whether another resource has made a call on this instance since then, settled or not."""
        who, when = self._last.get(ref, (uid, since))
        return who != uid and when >= since

    def call_over(self, ref: InstanceRef, uid: str) -> None:
        """Forget the call of this resource: it has settled."""
        if (call := self._calls.get(ref)) is not None and call.uid == uid:
            del self._calls[ref]

    def call_of_another(self, ref: InstanceRef, uid: str, now: float) -> tuple[Operation, timedelta] | None:
        """Return the call that another resource made on this instance and that may still take effect, with its age.

        A namesake that is created again starts without a status; this is how it knows.
        """
        call = self._calls.get(ref)
        if call is None or call.uid == uid:
            return None
        age = timedelta(seconds=now - call.since)
        if age >= self.settle:
            del self._calls[ref]
            return None
        return call.operation, age

    # --- who claims an instance ---

    def note(self, resource: TairInstance, now: float, *, is_served: bool, is_listed: bool = False) -> None:
        """Note what a resource claims; only one that the access list serves competes."""
        metadata, spec = resource.metadata, resource.spec
        key = key_of(resource)
        # Made by an earlier process; whoever comes after this resource has to know.
        self.note_call_of(resource, now)
        self._unclaim(key)
        self._names[key] = (spec.instance_id, metadata.uid)
        if is_served and metadata.deletion_timestamp is None:
            claims = self._claims.setdefault(spec.instance_id, {})
            claims[metadata.uid] = _Claim(seniority(resource), key, resource.status.taking_over is True)
        if not is_listed:
            # An older one may follow in the LIST, at the end of which owners are noted.
            self._note_owner(spec.instance_id, now)

    def note_others(self, resource: TairInstance, others: Iterable[TairInstance], now: float) -> None:
        """Note who else competes for the instance of a resource, whichever shard serves them, as of this moment."""
        instance_id = resource.spec.instance_id
        known, found, is_new = self._elsewhere.pop(instance_id, {}), {}, False
        for other in others:
            uid = other.metadata.uid
            key = key_of(other)
            found[uid] = _Claim(seniority(other), key, is_taking_over=False)
            is_new = is_new or (uid not in known and has_worked(other))
        if found:
            self._elsewhere[instance_id] = found
        self._note_owner(instance_id, now)
        if is_new and self.older_claim(resource) is None:
            # Until now another shard took that one for the owner, and may be about to act on it.
            self._owners[instance_id] = _Ownership(resource.metadata.uid, now, is_taken_over=True)

    def note_call_of(self, other: TairInstance, now: float) -> None:
        """Note the call of a resource, whichever shard serves it, that may still take effect."""
        ref, operation = InstanceRef(other.spec.instance_id, other.spec.region_id), unsettled(other)
        if operation is not None and ref not in self._calls:
            self.call_made(ref, other.metadata.uid, operation, now)

    def gone(self, key: Key) -> None:
        """Note that whoever had this name is gone, or served elsewhere: it claims nothing, and what was seen is old."""
        _, uid = self._names.get(key, ("", ""))
        self._facts.pop(uid, None)
        self._unclaim(key)

    def older_claim(self, resource: TairInstance) -> Key | None:
        """Return the resource that owns the instance, the most senior of those that claim it, if it is another one."""
        oldest = self._oldest(resource.spec.instance_id)
        return None if oldest is None or oldest.uid == resource.metadata.uid else oldest.key

    def owned_for(self, resource: TairInstance, now: float) -> timedelta | None:
        """Return since when the resource owns the instance that another one owned before it; None where none did."""
        owner = self._owners.get(resource.spec.instance_id)
        if owner is None or owner.uid != resource.metadata.uid or not owner.is_taken_over:
            return None
        return timedelta(seconds=now - owner.since)

    def forget_all_but(self, resources: Collection[Listed], now: float) -> None:
        """Drop what is remembered of resources that are gone, and note who owns each instance after a LIST.

        Of calls that nobody asks about any more nothing is remembered either.
        """
        self._last = {ref: last for ref, last in self._last.items() if now - last[1] <= LAST_CALL_KEPT}
        uids = {resource.uid for resource in resources}
        for uid in self._facts.keys() - uids:
            del self._facts[uid]
        for key in [key for key, (_, uid) in self._names.items() if uid not in uids]:
            self._unclaim(key)
        instances = {resource.instance_id for resource in resources}
        for instance_id in self._elsewhere.keys() - instances:
            del self._elsewhere[instance_id]
        for instance_id in instances:
            self._note_owner(instance_id, now)

    def _unclaim(self, key: Key) -> None:
        instance_id, uid = self._names.pop(key, ("", ""))
        claims = self._claims.get(instance_id, {})
        claims.pop(uid, None)
        if not claims:
            self._claims.pop(instance_id, None)

    def _oldest(self, instance_id: str) -> _Claim | None:
        claims = self._elsewhere.get(instance_id, {}) | self._claims.get(instance_id, {})
        return min(claims.values(), default=None)

    def _note_owner(self, instance_id: str, now: float) -> None:
        oldest = self._oldest(instance_id)
        if oldest is None:
            return
        before = self._owners.get(instance_id)
        if before is not None and before.uid == oldest.uid:
            return
        # Before a restart there was another one, or status would not say so; the watch begins again.
        self._owners[instance_id] = _Ownership(oldest.uid, now, before is not None or oldest.is_taking_over)


@dataclass(slots=True)
class ReleaseBudget:
    """Counts the releases of a sliding window, from the operations in the status of all resources."""

    limit: int
    """How many releases the window holds; 0 for no limit."""
    window: timedelta
    _started: dict[str, datetime] = field(default_factory=dict)
    _draining: set[str] = field(default_factory=set)
    """Resources whose endpoint is withdrawn already: each has its place, or clients would wait in vain."""

    def note(self, resource: TairInstance) -> None:
        """Count the releases that a resource tells of."""
        for operation in (*resource.status.history, resource.status.operation):
            if operation is not None:
                self.count(operation)
        # While the release is under way it is counted as such.
        if is_draining(resource.status.plan) and unsettled(resource) is None:
            self.hold_place(resource.metadata.uid)
        else:
            self._draining.discard(resource.metadata.uid)

    def hold_place(self, uid: str) -> None:
        """Keep a place for a resource that drains, until its status says that it does not."""
        self._draining.add(uid)

    def forget_all_but(self, resources: Iterable[Listed]) -> None:
        """Drop the places of resources that are gone."""
        self._draining &= {resource.uid for resource in resources}

    def count(self, operation: Operation) -> None:
        """Count a release once, and not at all when it certainly had no effect."""
        if not self.limit or operation.action is not Action.RELEASE:
            return
        if operation.outcome in {Outcome.NOT_SENT, Outcome.REJECTED}:
            self._started.pop(operation.id, None)
        else:
            self._started[operation.id] = operation.started_at

    def wait(self, now: datetime, uid: str) -> timedelta | None:
        """Return how long until another release, of this resource, fits; None when it fits now."""
        if not self.limit:
            return None
        # A start in the future, by a clock that was wrong, counts as now.
        self._started = {name: min(time, now) for name, time in self._started.items() if time > now - self.window}
        taken = len(self._started) + len(self._draining - {uid})
        if taken < self.limit:
            return None
        over = sorted(self._started.values())[: taken - self.limit + 1]
        return over[-1] + self.window - now if len(over) > taken - self.limit else self.window

    def let_place_go(self, uid: str) -> None:
        """Free the place of a resource that counts elsewhere."""
        self._draining.discard(uid)


@dataclass(slots=True)
class ReleaseBudgets:
    """One budget for each account: what a tenant does with credentials of its own is taken from nobody else."""

    limit: int
    window: timedelta
    _budgets: dict[Principal | None, ReleaseBudget] = field(default_factory=dict)

    def of(self, resource: TairInstance) -> ReleaseBudget:
        """Return the budget that a release of this resource is taken from."""
        principal = target_of(resource).principal
        return self._budgets.setdefault(principal, ReleaseBudget(self.limit, self.window))

    def note(self, resource: TairInstance) -> None:
        """Count the releases that a resource tells of."""
        its_own = self.of(resource)
        its_own.note(resource)
        for budget in self._budgets.values():
            if budget is not its_own:
                budget.let_place_go(resource.metadata.uid)

    def forget_all_but(self, resources: list[Listed]) -> None:
        """Drop the places of resources that are gone."""
        for budget in self._budgets.values():
            budget.forget_all_but(resources)
