"""What the core needs from outside: a cloud, a cluster, a clock.

The protocols here are all that ``reconcile`` knows of Alibaba Cloud and of
Kubernetes. The adapters (``aliyun``, ``cluster``) implement them, tests put
fakes in their place. Failures cross this border as one of the error classes
below and as nothing else.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from tair_operator.models import Action, Operation, Reason, TairInstance, TairInstanceStatus


class Key(NamedTuple):
    """Names a resource in the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class InstanceRef(NamedTuple):
    """Names an instance in the cloud."""

    instance_id: str
    region_id: str


class PrincipalKind(StrEnum):
    """What a resource can name instead of the operator's own credentials."""

    SECRET = "Secret"  # noqa: S105 - the kind of an object
    SERVICE_ACCOUNT = "ServiceAccount"


class Principal(NamedTuple):
    """Whose credentials sign a call: a Secret or a ServiceAccount in the namespace of the resource."""

    namespace: str
    kind: PrincipalKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Target(NamedTuple):
    """An instance, and whose credentials reach it; the operator's own where ``principal`` is None."""

    instance_id: str
    region_id: str
    principal: Principal | None = None

    @property
    def ref(self) -> InstanceRef:
        """The instance alone."""
        return InstanceRef(self.instance_id, self.region_id)


class Address(NamedTuple):
    """What an allocation asks for; the cloud picks what is None."""

    prefix: str | None = None
    port: int | None = None


ANYWHERE = Address()


class Detail(StrEnum):
    """What is asked only when a decision depends on it, by the name of the call that tells."""

    TLS = "DescribeInstanceSSL"
    WINDOW = "DescribeInstanceAttribute"


@dataclass(frozen=True, slots=True)
class Window:
    """The daily maintenance window, in UTC. It crosses midnight where ``end`` is before ``start``."""

    start: time
    end: time


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One item of DescribeDBInstanceNetInfo.

    ``direct`` is the flag DirectConnection: True for 1, False for 0, None when
    the reply did not carry it.
    """

    host: str
    port: int | None = None
    direct: bool | None = None
    ip_address: str | None = None
    vpc_id: str | None = None
    v_switch_id: str | None = None
    vpc_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One item of DescribeInstances; None where the reply did not carry the field."""

    instance_id: str
    region_id: str | None = None
    status: str | None = None
    name: str | None = None
    architecture_type: str | None = None
    computing_type: str | None = None
    engine_version: str | None = None
    network_type: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the cloud showed.

    ``sent_at`` is the aware UTC time just before the first of the requests was
    sent: what happened after it may be missing here. ``instance`` is None when
    DescribeInstances for the region did not list the id. ``endpoints`` is empty
    when the reply had no item, which proves nothing (see ``plan.presence``).
    """

    sent_at: datetime
    instance: Instance | None
    endpoints: tuple[Endpoint, ...] = ()
    asked: frozenset[Detail] = frozenset()
    """Which details were asked for; the next two are None also where the answer did not tell."""
    tls: bool | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx reply to a mutating call. It acknowledges the request and proves no effect."""

    request_id: str
    http_status: int


class ErrorClass(StrEnum):
    """What to do about a failed call."""

    TRANSIENT = "Transient"
    """Back off and try again."""
    BUSY = "Busy"
    """The instance is being changed: look until it is Normal, then call again."""
    BLOCKED = "Blocked"
    """Somebody has to change something outside the spec."""
    INVALID = "Invalid"
    """The spec has to change."""
    CONFIRM = "Confirm"
    """The cloud says that it is already so: look before believing it."""


class Effect(StrEnum):
    """Whether a failed mutating call may have changed the instance."""

    NONE = "None"
    POSSIBLE = "Possible"


# Not frozen: contextlib and asyncio assign __traceback__ on exceptions that pass through them.
@dataclass(eq=False)
class CloudError(Exception):
    """A cloud call that did not succeed.

    ``message`` is safe to show: shortened, without control characters, secrets
    redacted. ``sent`` is False when not one byte of the request left, so that
    the call certainly had no effect. ``http_status`` and ``request_id`` are None
    when no answer arrived.
    """

    action: str
    code: str
    message: str
    error_class: ErrorClass
    effect: Effect
    reason: Reason
    http_status: int | None = None
    request_id: str | None = None
    sent: bool = True
    retry_after: timedelta | None = None

    def __str__(self) -> str:
        return f"{self.action}: {self.code}: {self.message}"


class ConflictError(Exception):
    """The stored resource is not the one that the decision was made on. Start the pass again."""


class ClusterUnavailableError(Exception):
    """The Kubernetes API did not answer or refused. Nothing is known to be written; back off and start again."""


class ClusterRefusedError(ClusterUnavailableError):
    """The Kubernetes API refused, by 401, 403, 422 or for a webhook that does not answer: nothing was written."""


class ForbiddenError(Exception):
    """The operator's ServiceAccount may not do this; the message says which permission is missing."""


class NotOursError(Exception):
    """The object to be written is somebody else's and was left alone; the message names it and says what to do."""


class Place(NamedTuple):
    """An object, in the namespace of the resource, that the endpoint is published in."""

    kind: Literal["Secret", "ConfigMap"]
    name: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """What counts of a namespace."""

    labels: Mapping[str, str]
    is_terminating: bool = False


class IssuedToken(NamedTuple):
    """A token of a ServiceAccount; ``expires_at`` is None where the API server did not say."""

    token: str
    expires_at: datetime | None


class PreparedCall(Protocol):
    """A mutating call for which everything that can wait has been waited for."""

    async def send(self) -> Answer:
        """Send the one request, at once and without any retry.

        Raises:
            CloudError: the call was refused, failed, or got no usable answer.

        """


class Cloud(Protocol):
    """Alibaba Cloud R-kvstore, as far as a pass needs it."""

    async def observe(self, target: Target) -> Observation:
        """Look at the instance: DescribeInstances and DescribeDBInstanceNetInfo.

        Raises:
            CloudError: one of the two did not succeed.

        """

    async def look_closer(self, target: Target, observation: Observation, details: frozenset[Detail]) -> Observation:
        """Add details to a look. One that the cloud will not tell stays None.

        Raises:
            CloudError: of the classes Transient and Busy only: asking again may help.

        """

    def classify(self, code: str | None, http_status: int | None) -> tuple[ErrorClass, Reason]:
        """Say what a stored error code means; None is a failure without any answer."""

    async def prepare(self, action: Action, target: Target, address: Address = ANYWHERE) -> PreparedCall:
        """Wait for the limiter, the credentials and a connection, so that sending needs none of them.

        ``address`` is what an allocation asks for.

        Raises:
            CloudError: with ``sent`` False; nothing was sent.

        """


class Cluster(Protocol):
    """Kubernetes, as far as a pass needs it."""

    async def get(self, key: Key) -> TairInstance | None:
        """Read the newest version of a resource from the API server; None when it is gone.

        Raises:
            ClusterUnavailableError: the API server did not answer.

        """

    def list_all(self) -> AsyncIterator[list[TairInstance]]:
        """List every resource of the operator's scope, page by page: not all of them are in memory at once.

        Raises:
            ClusterUnavailableError: the API server did not answer, so there is no complete list.

        """

    async def is_served(self) -> bool:
        """Whether the CRD is installed.

        Raises:
            ClusterUnavailableError: the API server did not answer.

        """

    async def claims(self, instance_id: str) -> list[TairInstance]:
        """List, live, every resource of the operator's scope whose spec names this instance."""

    async def write_status(self, resource: TairInstance, status: TairInstanceStatus) -> TairInstance:
        """Replace the whole status, provided that the stored resource is still this very version.

        Raises:
            ConflictError: it is not; nothing was written.
            ClusterUnavailableError: the write may or may not have happened.

        """

    async def write_answer(self, resource: TairInstance, operation: Operation) -> bool:
        """Store what became of a call, whatever else was edited meanwhile.

        Guarded by uid and operation id, and repeated until it is written. Returns
        False when the resource is gone or carries another operation.
        """

    async def write_finalizer(self, resource: TairInstance, *, is_wanted: bool) -> TairInstance | None:
        """Add or remove our finalizer, provided that the stored resource is still this very version.

        Returns None when the resource is gone.

        Raises:
            ForbiddenError: the operator's ServiceAccount may not write it.
            ConflictError: it is not; nothing was written.
            ClusterUnavailableError: the write may or may not have happened.

        """

    async def publish(self, resource: TairInstance, place: Place, host: str, port: int) -> None:
        """Write the endpoint into the object, unless it says so already.

        Raises:
            NotOursError: there is an object of that name that belongs to somebody else.
            ForbiddenError: the operator's ServiceAccount may not write it.
            ClusterUnavailableError: the API server did not answer.

        """

    async def withdraw(self, resource: TairInstance, place: Place) -> None:
        """Delete the object if it is this resource's own.

        Raises:
            ForbiddenError: the operator's ServiceAccount may not look or delete.
            ClusterUnavailableError: the API server did not answer.

        """

    async def read_namespace(self, name: str) -> Namespace | None:
        """Read a namespace; None when it is gone.

        Raises:
            ForbiddenError: the operator's ServiceAccount may not read it.
            ClusterUnavailableError: the API server did not answer.

        """

    async def post_event(self, resource: TairInstance, event: "Event") -> None:
        """Tell users of a transition by an Event on the resource. Best effort: never repeated, never a failure."""


@dataclass(frozen=True, slots=True)
class Event:
    """What an Event says: ``kind`` is Normal or Warning, ``reason`` one word, ``message`` a sentence."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""

    def monotonic(self) -> float:
        """Return seconds that never go back, not counting the machine's sleep."""

    def boottime(self) -> float:
        """Return seconds that never go back, counting the machine's sleep."""
