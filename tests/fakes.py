"""Fakes of the ports: a cluster, a cloud and a clock in memory, with the semantics that the core relies on.

Time moves only when a test moves it. At named points a test can let something happen ("at"): the process dies, the
clock jumps, the user edits, the network fails. Whatever happens there happens once. ``World`` puts them together.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from tair_operator.models import FINALIZER, Action, Operation, Outcome, Reason, TairInstance, TairInstanceStatus
from tair_operator.ports import (
    ANYWHERE,
    Address,
    Answer,
    CloudError,
    ClusterUnavailableError,
    ConflictError,
    Detail,
    Effect,
    Endpoint,
    ErrorClass,
    Event,
    ForbiddenError,
    Instance,
    InstanceRef,
    Key,
    Namespace,
    NotOursError,
    Observation,
    Place,
    Target,
    Window,
)
from tair_operator.reconcile import Reconciler
from tair_operator.situation import Grant, Policy, Verb
from tests.builders import EVERYTHING, HOST, ID, KEY, NOW, PORT, PROXY, REGION

Happening = Callable[[], None]


class CrashError(BaseException):
    """The process is gone; like CancelledError, nothing in the code under test may survive it."""


def crash() -> None:
    raise CrashError


def cancel() -> None:
    raise asyncio.CancelledError


def fail(error: BaseException) -> Happening:
    """Return something that happens: this error is raised."""

    def happen() -> None:
        raise error

    return happen


@dataclass
class FakeClock:
    """Implements ``ports.Clock``; three clocks that move together unless a test says otherwise."""

    wall: datetime = NOW
    ticks: float = 1000.0
    asleep: float = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def boottime(self) -> float:
        return self.ticks + self.asleep

    def advance(self, time: timedelta | float) -> None:
        time = time if isinstance(time, timedelta) else timedelta(seconds=time)
        self.wall += time
        self.ticks += time.total_seconds()

    def sleep_machine(self, seconds: float) -> None:
        """Let the machine sleep: the monotonic clock stands still."""
        self.wall += timedelta(seconds=seconds)
        self.asleep += seconds


@dataclass
class _Points:
    """Where a test can interfere."""

    at: dict[str, Happening] = field(default_factory=dict)
    journal: list[str] = field(default_factory=list)
    """What was done, in order. ``World`` lets all parts write into one."""

    def pass_point(self, name: str) -> None:
        if (happening := self.at.pop(name, None)) is not None:
            happening()


@dataclass(frozen=True)
class Write:
    """One write that was stored."""

    kind: str
    key: Key
    status: TairInstanceStatus

    @property
    def outcome(self) -> Outcome | None:
        return self.status.operation.outcome if self.status.operation else None


@dataclass
class FakeCluster(_Points):
    """Implements ``ports.Cluster``: versions, uids, generations, conflicts, and no new version for no change.

    Points: ``write_status`` and ``write_answer`` before the write is stored, ``status_written`` and
    ``answer_written`` after it.
    """

    stored: dict[Key, TairInstance] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    stale: dict[Key, TairInstance] = field(default_factory=dict)
    """What ``get`` shows instead of the truth, as an API server does that lags behind."""
    ignores_status: bool = False
    is_installed: bool = True
    events: list[Event] = field(default_factory=list)
    published: dict[Place, tuple[str, int]] = field(default_factory=dict)
    foreign: set[Place] = field(default_factory=set)
    """Objects that belong to somebody else."""
    forbidden: set[Place] = field(default_factory=set)
    """Objects that the operator's ServiceAccount may neither read nor write."""
    publications: list[tuple[str, Place]] = field(default_factory=list)
    namespaces: dict[str, Namespace | None] = field(default_factory=dict)
    finalizer_writes: int = 0
    reads: int = 0
    _version: int = 0

    async def get(self, key: Key) -> TairInstance | None:
        self.pass_point("get")
        self.reads += 1
        return self.stale.get(key) or self.stored.get(key)

    async def list_all(self) -> AsyncIterator[list[TairInstance]]:
        self.pass_point("list_all")
        yield list(self.stored.values())
        self.pass_point("after a page")

    async def is_served(self) -> bool:
        self.pass_point("is_served")
        return self.is_installed

    async def claims(self, instance_id: str) -> list[TairInstance]:
        self.pass_point("claims")
        return [found for found in self.stored.values() if found.spec.instance_id == instance_id]

    async def write_status(self, resource: TairInstance, status: TairInstanceStatus) -> TairInstance:
        self.pass_point("write_status")
        key = _key(resource)
        current = self.stored.get(key)
        is_same = current is not None and (
            (current.metadata.resource_version, current.metadata.uid)
            == (resource.metadata.resource_version, resource.metadata.uid)
        )
        if current is None or not is_same:
            message = f"{key} changed while it was looked at"
            raise ConflictError(message)
        if self.ignores_status:
            return current
        stored = self._store(current, status, "status")
        self.pass_point("status_written")
        return stored

    async def write_answer(self, resource: TairInstance, operation: Operation) -> bool:
        self.pass_point("write_answer")
        current = self.stored.get(_key(resource))
        known = current.status.operation if current else None
        if current is None or current.metadata.uid != resource.metadata.uid or known is None:
            return False
        if known.id != operation.id:
            return False
        update: dict[str, Any] = {"operation": operation}
        if operation.request_id is not None:
            update["request_id"] = operation.request_id
        self._store(current, current.status.model_copy(update=update), "answer")
        self.pass_point("answer_written")
        return True

    async def write_finalizer(self, resource: TairInstance, *, is_wanted: bool) -> TairInstance | None:
        self.pass_point("write_finalizer")
        key = _key(resource)
        current = self.stored.get(key)
        if current is None:
            return None
        if current.metadata.resource_version != resource.metadata.resource_version:
            message = f"{key} changed while it was looked at"
            raise ConflictError(message)
        finalizers = [name for name in current.metadata.finalizers if name != FINALIZER] + [FINALIZER] * is_wanted
        self.touch(key, finalizers=finalizers)
        self.finalizer_writes += 1
        self.journal.append("hold" if is_wanted else "let go")
        if current.metadata.deletion_timestamp is not None and not finalizers:
            return self.stored.pop(key)
        return self.stored[key]

    async def publish(self, resource: TairInstance, place: Place, host: str, port: int) -> None:
        del resource
        self.pass_point("publish")
        self._check(place)
        if place in self.foreign:
            message = f"{place.kind} {place.name} exists already and is not this resource's own"
            raise NotOursError(message)
        if self.published.get(place) != (host, port):
            self.published[place] = (host, port)
            self.publications.append(("publish", place))
            self.journal.append(f"publish {place.kind} {place.name}")

    async def withdraw(self, resource: TairInstance, place: Place) -> None:
        del resource
        self.pass_point("withdraw")
        self._check(place)
        if self.published.pop(place, None) is not None:
            self.publications.append(("withdraw", place))
            self.journal.append(f"withdraw {place.kind} {place.name}")

    async def read_namespace(self, name: str) -> Namespace | None:
        self.pass_point("read_namespace")
        return self.namespaces.get(name, Namespace({}))

    # --- What users do ---

    async def post_event(self, resource: TairInstance, event: Event) -> None:
        del resource
        self.events.append(event)

    def create(self, resource: TairInstance) -> TairInstance:
        """Store a resource, with a version of its own."""
        metadata = resource.metadata.model_copy(update={"resource_version": self._next_version()})
        self.stored[_key(resource)] = stored = resource.model_copy(update={"metadata": metadata})
        return stored

    def edit(self, key: Key, **spec: object) -> None:
        """Change the spec, which makes a new generation."""
        current = self.stored[key]
        metadata = current.metadata.model_copy(
            update={"resource_version": self._next_version(), "generation": current.metadata.generation + 1}
        )
        self.stored[key] = current.model_copy(
            update={"metadata": metadata, "spec": current.spec.model_copy(update=spec)}
        )

    def delete(self, key: Key) -> None:
        """Delete a resource: it stays while a finalizer holds it."""
        current = self.stored[key]
        if current.metadata.finalizers:
            generation = current.metadata.generation + 1
            self.touch(key, deletion_timestamp=current.metadata.creation_timestamp, generation=generation)
        else:
            del self.stored[key]

    def touch(self, key: Key, **metadata: object) -> None:
        """Change the metadata only, which makes a new version and no new generation."""
        current = self.stored[key]
        update = {"resource_version": self._next_version()} | metadata
        self.stored[key] = current.model_copy(update={"metadata": current.metadata.model_copy(update=update)})

    def _check(self, place: Place) -> None:
        if place in self.forbidden:
            message = f"{place.kind} {place.name} may not be written"
            raise ForbiddenError(message)

    def _store(self, current: TairInstance, status: TairInstanceStatus, kind: str) -> TairInstance:
        key = _key(current)
        # Through the wire and back: what does not survive that is not stored.
        wire = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        status = TairInstanceStatus.model_validate(wire)
        self.writes.append(Write(kind, key, status))
        is_intent = status.operation is not None and status.operation.outcome is Outcome.STARTED
        ready = status.condition("Ready")
        words = "intent" if is_intent else f"status {ready.reason if ready else None}" if kind == "status" else kind
        self.journal.append(words)
        if status == current.status:
            return current
        metadata = current.metadata.model_copy(update={"resource_version": self._next_version()})
        self.stored[key] = stored = current.model_copy(update={"metadata": metadata, "status": status})
        return stored

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)


@dataclass(frozen=True)
class Call:
    """One mutating call that reached the cloud."""

    action: Action
    instance_id: str
    request_id: str
    effective: bool


@dataclass
class FakeInstance:
    """An instance of the cloud. A change that was accepted is under way until ``busy_until``."""

    endpoint: Endpoint | None = None
    status: str = "Normal"
    region_id: str = REGION
    computing_type: str = "Machine"
    tls: bool | None = False
    window: Window | None = None
    busy_until: float = 0.0
    after: Endpoint | None = None


@dataclass(frozen=True)
class Scripted:
    """The error that the next mutating call ends with, and whether it had an effect all the same."""

    error: CloudError
    effective: bool = False


CODES: dict[str | None, tuple[ErrorClass, Reason]] = {
    "NetTypeNotExists": (ErrorClass.CONFIRM, Reason.OUTCOME_UNKNOWN),
    "NetTypeExists": (ErrorClass.CONFIRM, Reason.OUTCOME_UNKNOWN),
    "IncorrectDBInstanceState": (ErrorClass.BUSY, Reason.INSTANCE_BUSY),
    "Throttling.User": (ErrorClass.TRANSIENT, Reason.THROTTLED),
    "Forbidden.RAM": (ErrorClass.BLOCKED, Reason.ACCESS_DENIED),
    "InvalidConnType": (ErrorClass.INVALID, Reason.INVALID_REQUEST),
}


@dataclass
class FakeCloud(_Points):
    """Implements ``ports.Cloud``: instances, a ledger of mutating calls, and answers by script.

    Points: ``observe``, ``prepare``; ``send`` before the call has arrived, ``sent`` after it has taken effect and
    before its answer does.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    instances: dict[str, FakeInstance] = field(default_factory=dict)
    ledger: list[Call] = field(default_factory=list)
    script: deque[Scripted] = field(default_factory=deque)
    looks: int = 0
    asked: list[Detail] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    change_seconds: float = 7.0
    _numbers: int = 0

    async def observe(self, target: Target) -> Observation:
        self.pass_point("observe")
        self.looks += 1
        self.journal.append("look")
        ref = target.ref
        found = self._found(ref.instance_id)
        if found is None or found.region_id != ref.region_id:
            return Observation(self.clock.now(), None)
        seen = Instance(
            instance_id=ref.instance_id,
            region_id=found.region_id,
            status=found.status,
            architecture_type="cluster",
            computing_type=found.computing_type,
        )
        return Observation(self.clock.now(), seen, (PROXY, found.endpoint) if found.endpoint else (PROXY,))

    async def look_closer(self, target: Target, observation: Observation, details: frozenset[Detail]) -> Observation:
        self.pass_point("look_closer")
        self.asked += sorted(details)
        found = self.instances[target.instance_id]
        if Detail.TLS in details:
            observation = replace(observation, tls=found.tls)
        if Detail.WINDOW in details:
            observation = replace(observation, window=found.window)
        return replace(observation, asked=observation.asked | details)

    def classify(self, code: str | None, http_status: int | None) -> tuple[ErrorClass, Reason]:
        del http_status
        return CODES.get(code, (ErrorClass.TRANSIENT, Reason.CLOUD_UNREACHABLE))

    async def prepare(self, action: Action, target: Target, address: Address = ANYWHERE) -> "FakeCall":
        self.pass_point("prepare")
        self.addresses.append(address)
        return FakeCall(self, action, target.ref)

    def receive(self, action: Action, ref: InstanceRef) -> Answer:
        """Do what a mutating call asks for, and answer it."""
        self.pass_point("send")
        request_id = self._next_request_id()
        scripted = self.script.popleft() if self.script else None
        error = scripted.error if scripted else self._refusal(action, ref)
        is_effective = error is None or (scripted is not None and scripted.effective)
        self.ledger.append(Call(action, ref.instance_id, request_id, is_effective))
        self.journal.append(f"call {action}")
        if is_effective:
            self._change(action, self.instances[ref.instance_id])
        self.pass_point("sent")
        if error is None:
            return Answer(request_id, 200)
        if error.http_status is not None and error.request_id is None:
            error = replace(error, request_id=request_id)
        raise error

    @property
    def effective_releases(self) -> list[str]:
        """The request ids of the releases that had an effect."""
        return [call.request_id for call in self.ledger if call.action is Action.RELEASE and call.effective]

    def _found(self, instance_id: str) -> FakeInstance | None:
        found = self.instances.get(instance_id)
        if found is not None and found.busy_until and self.clock.monotonic() >= found.busy_until:
            found.endpoint, found.status, found.busy_until = found.after, "Normal", 0.0
        return found

    def _refusal(self, action: Action, ref: InstanceRef) -> CloudError | None:
        found = self._found(ref.instance_id)
        if found is None:
            code = "InvalidInstanceId.NotFound"
        elif found.status != "Normal":
            code = "IncorrectDBInstanceState"
        elif action is Action.RELEASE and found.endpoint is None:
            code = "NetTypeNotExists"
        elif action is Action.ALLOCATE and found.endpoint is not None:
            code = "NetTypeExists"
        else:
            return None
        return rejection(code, action)

    def _change(self, action: Action, found: FakeInstance) -> None:
        found.status = "NetReleasing" if action is Action.RELEASE else "NetCreating"
        found.busy_until = self.clock.monotonic() + self.change_seconds
        found.after = None if action is Action.RELEASE else Endpoint(HOST, PORT, direct=True)

    def _next_request_id(self) -> str:
        self._numbers += 1
        return f"5D622714-AEDD-4609-9167-{self._numbers:012d}"


@dataclass(frozen=True)
class FakeCall:
    """Implements ``ports.PreparedCall``."""

    cloud: FakeCloud
    action: Action
    ref: InstanceRef

    async def send(self) -> Answer:
        return self.cloud.receive(self.action, self.ref)


def rejection(code: str, action: Action = Action.RELEASE) -> CloudError:
    """Return the error of a call that was refused and certainly had no effect."""
    error_class, reason = CODES.get(code, (ErrorClass.BLOCKED, Reason.INSTANCE_NOT_FOUND))
    message = f"Because of {code}."
    return CloudError(action, code, message, error_class, Effect.NONE, reason, http_status=400)


def silence(action: Action = Action.RELEASE) -> CloudError:
    """Return the error of a call that got no answer."""
    return CloudError(
        action, "ReadTimeout", "No answer came.", ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE
    )


def present() -> FakeInstance:
    """Return an instance with a direct connection."""
    return FakeInstance(Endpoint(HOST, PORT, direct=True))


def absent() -> FakeInstance:
    """Return an instance without a direct connection."""
    return FakeInstance()


def cloud_with(found: FakeInstance | None, clock: FakeClock) -> FakeCloud:
    """Return a cloud with one instance, or none."""
    return FakeCloud(clock=clock, instances={} if found is None else {ID: found})


def _key(resource: TairInstance) -> Key:
    return Key(resource.metadata.namespace, resource.metadata.name)


def granting(grant: Callable[[TairInstance], Grant]) -> Callable[[TairInstance], Awaitable[Grant]]:
    """Return an access list that answers at once."""

    async def ask(resource: TairInstance) -> Grant:
        return grant(resource)

    return ask


@dataclass
class World:
    """One operator on one cluster and one cloud; ``restart`` replaces the operator and keeps the rest."""

    clock: FakeClock
    cluster: FakeCluster
    cloud: FakeCloud
    verbs: frozenset[Verb] = EVERYTHING
    policy: Policy = field(default_factory=Policy)
    is_held: bool = False
    requires_approval: bool = False
    ids: Iterator[int] = field(default_factory=count)
    operator: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        self.cloud.journal = self.cluster.journal
        self.restart()

    def restart(self) -> None:
        self.operator = Reconciler(
            cluster=self.cluster,
            cloud=self.cloud,
            clock=self.clock,
            policy=self.policy,
            grant=granting(lambda _: self.grant()),
            new_id=lambda: f"op-{next(self.ids)}",
        )

    def grant(self) -> Grant:
        return Grant(
            self.verbs,
            "Add this line.",
            are_releases_held=self.is_held,
            requires_approval=self.requires_approval,
        )

    async def one_pass(self, key: Key = KEY) -> timedelta | None:
        return await self.operator.reconcile(key)

    async def run(self, seconds: float, key: Key = KEY) -> None:
        """Run passes as the queue would, for a time."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            try:
                pause = await self.operator.reconcile(key)
            except (ConflictError, ClusterUnavailableError):
                pause = timedelta(seconds=0.2)
            if pause is None:
                return
            self.clock.advance(max(pause, timedelta(seconds=0.01)))

    def seen(self, key: Key = KEY) -> TairInstance:
        return self.cluster.stored[key]

    def ready(self, key: Key = KEY) -> tuple[str, str]:
        found = self.seen(key).status.condition("Ready")

        assert found is not None
        return found.status, found.reason

    def calls(self) -> list[tuple[Action, bool]]:
        return [(call.action, call.effective) for call in self.cloud.ledger]


def world(found: FakeInstance | None, made: TairInstance, policy: Policy | None = None) -> World:
    clock = FakeClock()
    made_world = World(clock, FakeCluster(), cloud_with(found, clock), policy=policy or Policy())
    made_world.cluster.create(made)
    return made_world
