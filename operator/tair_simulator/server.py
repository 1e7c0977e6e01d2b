"""The web server: one call of the API from its bytes to its reply.

``serve_call`` is the whole story in order: read, note in the ledger, let the gate, flow control and RAM decide, meet a
fault, let the operation act, answer. Everything it uses is pure or in memory; only this module, ``delivery`` and
``control`` know aiohttp.
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import uuid4

from aiohttp import web

from tair_simulator.authorization import permit
from tair_simulator.cloud import Cloud
from tair_simulator.control import add_control_routes
from tair_simulator.control_input import CLOUD, refuse_bad_input
from tair_simulator.delivery import deliver, hang_up
from tair_simulator.errors import CloudError, refusal
from tair_simulator.faults import Fault, Setting
from tair_simulator.holds import Held, Point
from tair_simulator.ledger import Entry
from tair_simulator.operations import Outcome, find_operation
from tair_simulator.replies import AT_ONCE, Reply, failure, success
from tair_simulator.signature import SignedRequest

FORM = "application/x-www-form-urlencoded"
# Only regional names tie a call to a region: the central host r-kvstore.aliyuncs.com serves several, and so does any
# other name, or a simulator on 127.0.0.1 could serve one region only.
_REGIONAL_HOST = re.compile(r"r-kvstore(?:-vpc)?\.([a-z0-9-]+)\.aliyuncs\.com(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API, read but not yet believed."""

    request: SignedRequest
    parameters: dict[str, str]
    request_id: str

    @property
    def action(self) -> str:
        """The operation that the client names."""
        return self.request.headers.get("x-acs-action", "")

    @property
    def version(self) -> str:
        """The version of the API that the client names."""
        return self.request.headers.get("x-acs-version", "")

    @property
    def host(self) -> str:
        """The host and port that the client meant to reach."""
        return self.request.headers.get("host", "")

    @property
    def region_id(self) -> str | None:
        """The region that the host stands for, if it stands for one."""
        found = _REGIONAL_HOST.fullmatch(self.host.lower())
        return found and found.group(1)

    @property
    def instance_id(self) -> str | None:
        """The instance, or comma separated instances, that the call is about."""
        return self.parameters.get("InstanceId") or self.parameters.get("InstanceIds")


@dataclass(frozen=True, slots=True)
class Result:
    """The reply that the cloud itself would send, if the call got that far, and whether it changed an instance."""

    reply: Reply | None
    effective: bool = False


def create_app(cloud: Cloud) -> web.Application:
    """Return the application that serves this cloud: the API on ``/``, the control API under ``/_simulator/``."""
    app = web.Application(middlewares=[refuse_bad_input])
    app[CLOUD] = cloud
    app.router.add_route("*", "/", serve_call)
    add_control_routes(app)
    return app


async def serve_call(request: web.Request) -> web.StreamResponse:
    """Answer one call of the API."""
    cloud = request.app[CLOUD]
    call = await read_call(request)
    sequence, era = _note(cloud, call), cloud.era
    refused = _refused(cloud, call)
    fault = None if refused else cloud.faults.take(call.action, call.instance_id)
    if fault and fault.hangs_up:
        hang_up(request)
    await _pause(cloud, call, fault, "before")
    if cloud.era != era:
        return hang_up(request)
    result = refused or _act(cloud, call, fault)
    reply = fault.answer(result.reply, Setting(call.request_id, call.host)) if fault else result.reply
    cloud.ledger.complete(
        sequence,
        http_status=reply.http_status if reply else None,
        code=reply.code if reply else None,
        effective=result.effective,
        fault=fault.kind if fault else None,
    )
    await _pause(cloud, call, fault, "after")
    return await deliver(request, reply, call.request_id, fault.pace if fault else AT_ONCE)


async def read_call(request: web.Request) -> Call:
    """Read a request whole; parameters come from the query and from a form body, the query first."""
    body = await request.read()
    path, _, query = request.raw_path.partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = SignedRequest(request.method, path, query, headers, body)
    form = body.decode(errors="replace") if request.content_type == FORM else ""
    parameters = {**_parameters(form), **_parameters(query)}
    return Call(signed, parameters, request_id=str(uuid4()).upper())


def _parameters(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def _note(cloud: Cloud, call: Call) -> int:
    sequence = cloud.ledger.next_sequence
    cloud.ledger.open(
        Entry(
            sequence=sequence,
            time=cloud.clock(),
            action=call.action,
            version=call.version,
            instance_id=call.instance_id,
            access_key_id=cloud.gate.known(call.request),
            request_id=call.request_id,
            host=call.host,
            method=call.request.method,
        )
    )
    return sequence


def _refused(cloud: Cloud, call: Call) -> Result | None:
    """Return the refusal of a call that is not genuine, asks for what does not exist, or is not permitted."""
    try:
        if call.request.method not in {"GET", "POST"}:
            raise refusal("UnsupportedHTTPMethod")
        access_key_id = cloud.gate.admit(call.request, cloud.clock())
        find_operation(call.action, call.version)
        permit(cloud, access_key_id, call.action, call.parameters, call.region_id)
    except CloudError as error:
        return Result(failure(call.request_id, call.host, error))
    return None


async def _pause(cloud: Cloud, call: Call, fault: Fault | None, point: Point) -> None:
    """Let the call wait where a fault wants it to."""
    if fault is None:
        return
    await asyncio.sleep(fault.seconds_at(point))
    if fault.hold_point == point:
        await cloud.holds.wait(
            Held(fault.hold_id, point, call.action, call.instance_id, call.request_id, cloud.clock())
        )


def _act(cloud: Cloud, call: Call, fault: Fault | None) -> Result:
    """Let the operation do its work, unless a fault keeps it from that."""
    if fault and not fault.applies:
        return Result(None)
    try:
        outcome = _perform(cloud, call)
    except CloudError as error:
        return Result(failure(call.request_id, call.host, error))
    if fault and fault.fails_later and outcome.effective:
        cloud.fail_change(call.parameters["InstanceId"])
    return Result(success(call.request_id, outcome.fields), outcome.effective)


def _perform(cloud: Cloud, call: Call) -> Outcome:
    return find_operation(call.action, call.version)(cloud, call.parameters, call.region_id)
