"""The cloud in memory: the simulator's instances and operations, behind the session that the real client uses.

``open_session`` returns what takes the place of ``aiohttp.ClientSession``. Signatures are not checked
(tests/unit/aliyun does that), only whether the AccessKey is one that counts, for
what happens when keys are rotated.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from yarl import URL

from tair_operator.models import Action
from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError, refusal
from tair_simulator.operations import VERSION, find_operation
from tair_simulator.replies import Reply, failure, rewritten, success
from tair_simulator.seed import Seed
from tair_simulator.transitions import View, look
from tests.builders import REGION
from tests.faults.faults import NET_INFO, Family, Kind
from tests.faults.seam import FOR_EVER, Seam
from tests.session import Answer, Session

ENDPOINT = "http://simulator"
STALE_SECONDS = 10.0
CODES = {
    403: "Forbidden.RAM",
    404: "InvalidDbInstanceId.NotFound",
    409: "IncorrectDBInstanceState",
    500: "InternalError",
}
"""What the cloud says with a status; the other statuses come with a code that no table lists."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A mutating call that arrived."""

    time: float
    action: Action
    instance_id: str
    request_id: str
    code: str
    """OK, or why nothing changed."""

    @property
    def is_effective(self) -> bool:
        """Whether it changed the instance."""
        return self.code == "OK"


@dataclass
class CloudWorld:
    """The instances, and a ledger of what was done to them. ``clock`` returns the wall clock."""

    clock: Callable[[], datetime]
    ledger: list[Entry] = field(default_factory=list)
    others_at: dict[str, float] = field(default_factory=dict)
    """When somebody else last changed an instance."""
    keys: set[str] = field(default_factory=lambda: {"demo"})
    """The AccessKeys that count."""
    looked_at: dict[str, float] = field(default_factory=dict)
    """When the endpoints of an instance were last asked for."""
    bend: Callable[[str, dict[str, str]], dict[str, str]] = lambda _, parameters: parameters
    """What becomes of the parameters of a call on its way: a cloud may err as well."""
    _cloud: Cloud = field(init=False)
    issued: set[str] = field(default_factory=set)
    """Every RequestId that an answer had."""

    def __post_init__(self) -> None:
        self._cloud = Cloud(Seed(), self.clock)

    def put(self, instance_id: str, **fields: object) -> None:
        """Create an instance, or change it as somebody else would in the console."""
        written = fields if self._cloud.find(instance_id) else {"regionId": REGION, **fields}
        self._cloud.put(instance_id, written)
        self.others_at[instance_id] = _now()

    def remove(self, instance_id: str) -> None:
        """Delete an instance."""
        self._cloud.delete(instance_id)
        self.others_at[instance_id] = _now()

    def view(self, instance_id: str) -> View | None:
        """Return what there is now; None where there is no such instance."""
        record = self._cloud.find(instance_id)
        return None if record is None else look(record, self.clock())

    def is_in(self, region: str, instance_id: str) -> bool:
        """Whether the instance is in this region."""
        return self._cloud.find(instance_id, region) is not None

    def answer(self, action: str, parameters: dict[str, str], key_id: str) -> Reply:
        """Carry a call out, and note it if it was to change something."""
        request_id = self._new_request_id()
        parameters = self.bend(action, parameters)
        try:
            if key_id not in self.keys:
                raise refusal("InvalidAccessKeyId.NotFound")
            fields = find_operation(action, VERSION)(self._cloud, parameters, None).fields
            reply, code = success(request_id, fields), "OK"
        except CloudError as error:
            reply, code = failure(request_id, "simulator", error), error.code
        if action in set(Action):
            self.ledger.append(Entry(_now(), Action(action), parameters["InstanceId"], request_id, code))
        elif action == NET_INFO:
            self.looked_at[parameters["InstanceId"]] = _now()
        return reply

    def answer_as_before(self, action: str, parameters: dict[str, str], key_id: str) -> Reply:
        """Answer a look as some seconds ago."""
        now = self.clock()
        self._cloud.clock = lambda: now - timedelta(seconds=STALE_SECONDS)
        try:
            return self.answer(action, parameters, key_id)
        finally:
            self._cloud.clock = self.clock

    def _new_request_id(self) -> str:
        request_id = f"5D622714-AEDD-4609-9167-{len(self.issued):012d}"
        self.issued.add(request_id)
        return request_id

    def refusal(self, status: int) -> Reply:
        """Refuse, whatever was asked."""
        request_id = self._new_request_id()
        code = "Throttling.User" if status == 429 else CODES.get(status, "Unheard.Of")
        return failure(request_id, "simulator", CloudError(code, f"it is a {status}", status))


def open_session(
    world: CloudWorld, seam: Seam, process: int, on_send: Callable[[Action, str], None]
) -> aiohttp.ClientSession:
    """Return the session of one process; ``on_send`` is called when the first byte of a mutating call leaves."""

    async def answer(url: URL, headers: Mapping[str, str], progress: SimpleNamespace) -> Answer:
        lower = {name.lower(): value for name, value in headers.items()}
        action, key_id = lower["x-acs-action"], lower["authorization"].partition("Credential=")[2].partition(",")[0]
        progress.begin()
        family = Family.CLOUD_WRITE if action in set(Action) else Family.CLOUD_READ
        exchange = Exchange(world, action, dict(url.query), key_id, progress, on_send)
        reply = await seam.call(process, action, family, exchange)
        return Answer(reply.http_status, reply.headers, reply.body)

    return cast("aiohttp.ClientSession", Session(answer))


@dataclass
class Exchange:
    """Implements ``seam.Exchange``."""

    world: CloudWorld
    action: str
    parameters: dict[str, str]
    key_id: str
    progress: SimpleNamespace
    on_send: Callable[[Action, str], None]
    # The client's own deadline comes sooner.
    deadline: float = FOR_EVER
    _is_sent: bool = False

    def effect(self) -> Reply:
        return self.world.answer(self.action, self.parameters, self.key_id)

    def old_view(self) -> Reply:
        return self.world.answer_as_before(self.action, self.parameters, self.key_id)

    def refusal(self, status: int) -> Reply:
        return self.world.refusal(status)

    def bent(self, kind: Kind) -> Reply:
        if kind in {Kind.PARTIAL, Kind.NO_ITEMS}:
            reply = self.effect()
            if reply.code is not None:
                return reply
            return rewritten(reply, _without_direct if kind is Kind.PARTIAL else _without_items)
        return Reply(200, json.dumps({}).encode() if kind is Kind.EMPTY else b"<html>Bad gateway</html>")

    def broken(self, *, sent: bool) -> Exception:
        return OSError("reset" if sent else "refused")

    def leave(self) -> None:
        self.progress.send()
        if not self._is_sent and self.action in set(Action):
            self._is_sent = True
            self.on_send(Action(self.action), self.parameters["InstanceId"])


def _without_direct(fields: dict[str, Any]) -> dict[str, Any]:
    items = fields["NetInfoItems"]["InstanceNetInfo"]
    return {**fields, "NetInfoItems": {"InstanceNetInfo": [item for item in items if not item.get("DirectConnection")]}}


def _without_items(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "NetInfoItems": {"InstanceNetInfo": []}}


def _now() -> float:
    return asyncio.get_running_loop().time()
