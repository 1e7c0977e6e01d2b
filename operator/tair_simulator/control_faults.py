"""The part of the control API that breaks things: faults, and the calls that a fault holds."""

from aiohttp import web

from tair_simulator.control_input import CLOUD, PREFIX, json_body, not_found
from tair_simulator.fault_kinds import HoldFault, parse_fault
from tair_simulator.faults import Fault
from tair_simulator.mistakes import InputError


def add_fault_routes(app: web.Application) -> None:
    """Serve this part of the control API from this application."""
    app.router.add_post(f"{PREFIX}/faults", post_fault)
    app.router.add_get(f"{PREFIX}/faults", list_faults)
    app.router.add_delete(f"{PREFIX}/faults", delete_faults)
    app.router.add_get(f"{PREFIX}/holds", list_holds)
    app.router.add_post(f"{PREFIX}/holds/{{id}}/release", release_hold)
    app.router.add_delete(f"{PREFIX}/holds/{{id}}", release_hold)


async def post_fault(request: web.Request) -> web.Response:
    """Put one fault at the end of the queue; answer 201 with the fault. A hold without an id gets one."""
    fault = parse_fault(await json_body(request))
    if isinstance(fault, HoldFault):
        fault = _named(request, fault)
    request.app[CLOUD].faults.add(fault)
    return web.json_response(_show(fault), status=201)


async def list_faults(request: web.Request) -> web.Response:
    """Return the faults that are still to come."""
    return web.json_response([_show(fault) for fault in request.app[CLOUD].faults.pending()])


async def delete_faults(request: web.Request) -> web.Response:
    """Forget all faults; a call that is held already stays so."""
    request.app[CLOUD].faults.clear()
    return web.Response(status=204)


async def list_holds(request: web.Request) -> web.Response:
    """Return the calls that are held, and the holds that no call has reached yet."""
    held = [held.to_json() for held in request.app[CLOUD].holds.held()]
    return web.json_response([*held, *(_show_hold(fault) for fault in _pending(request))])


async def release_hold(request: web.Request) -> web.Response:
    """Let a call go on, or forget a hold that no call has reached yet."""
    cloud, hold_id = request.app[CLOUD], request.match_info["id"]
    if cloud.holds.release(hold_id) or cloud.faults.forget(lambda fault: fault.hold_id == hold_id):
        return web.Response(status=204)
    return not_found("hold id in the path: no such hold")


def _named(request: web.Request, fault: HoldFault) -> HoldFault:
    holds = request.app[CLOUD].holds
    taken = {held.hold_id for held in holds.held()} | {other.hold_id for other in _pending(request)}
    if fault.id in taken:
        raise InputError(["id: is the name of another hold"])
    if fault.id is not None:
        return fault
    new_id = next(name for name in iter(holds.new_id, "") if name not in taken)
    return fault.model_copy(update={"id": new_id})


def _pending(request: web.Request) -> list[HoldFault]:
    return [fault for fault in request.app[CLOUD].faults.pending() if isinstance(fault, HoldFault)]


def _show(fault: Fault) -> dict[str, object]:
    return fault.model_dump(mode="json", by_alias=True, exclude_none=True)


def _show_hold(fault: HoldFault) -> dict[str, object]:
    return {
        "id": fault.hold_id,
        "point": fault.point,
        "reached": False,
        "action": fault.action,
        "instanceId": fault.instance_id,
        "requestId": None,
        "since": None,
    }
