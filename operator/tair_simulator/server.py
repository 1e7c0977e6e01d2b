"""The web server: one call of the API from its bytes to its reply.

``serve_call`` is the whole story in order: read, note in the ledger, let the service that is meant decide, meet a
fault, let the service act, answer. Everything it uses is pure or in memory; only this module, ``calls``, ``delivery``
and ``control`` know aiohttp.
"""

import asyncio

from aiohttp import web

from tair_simulator.calls import Call, read_call
from tair_simulator.cloud import Cloud
from tair_simulator.control import add_control_routes
from tair_simulator.control_input import CLOUD, refuse_bad_input
from tair_simulator.delivery import deliver, hang_up
from tair_simulator.errors import CloudError
from tair_simulator.faults import Fault, Setting
from tair_simulator.holds import Held, Point
from tair_simulator.ledger import Entry
from tair_simulator.metadata import ROOT
from tair_simulator.products import Product, Result, product_of
from tair_simulator.replies import AT_ONCE


def create_app(cloud: Cloud) -> web.Application:
    """Return the application that serves this cloud: APIs, metadata, and the control API under ``/_simulator/``."""
    app = web.Application(middlewares=[refuse_bad_input])
    app[CLOUD] = cloud
    app.router.add_route("*", "/", serve_call)
    app.router.add_route("*", f"{ROOT}{{path:.*}}", serve_call)
    add_control_routes(app)
    return app


async def serve_call(request: web.Request) -> web.StreamResponse:
    """Answer one call of the API."""
    cloud = request.app[CLOUD]
    call = await read_call(request)
    product = product_of(call)
    sequence, era = _note(cloud, call), cloud.era
    refused = _refused(cloud, product, call)
    fault = None if refused else cloud.faults.take(call.action, call.instance_id)
    if fault and fault.hangs_up:
        hang_up(request)
    await _pause(cloud, call, fault, "before")
    if cloud.era != era:
        return hang_up(request)
    result = refused or _act(cloud, product, call, fault)
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


def _refused(cloud: Cloud, product: Product, call: Call) -> Result | None:
    """Return the refusal of a call that is not genuine, asks for what does not exist, or is not permitted."""
    try:
        product.check(cloud, call)
    except CloudError as error:
        return Result(product.refuse(call, error))
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


def _act(cloud: Cloud, product: Product, call: Call, fault: Fault | None) -> Result:
    """Let the service do its work, unless a fault keeps it from that."""
    if fault and not fault.applies:
        return Result(None)
    try:
        result = product.act(cloud, call)
    except CloudError as error:
        return Result(product.refuse(call, error))
    if fault and fault.fails_later and result.effective:
        cloud.fail_change(call.parameters["InstanceId"])
    return result
