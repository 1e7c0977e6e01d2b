"""The control API under ``/_simulator/``: how a test arranges the cloud, breaks it, and reads what happened.

It is unsigned and unprotected, on the same port as the API: for trusted test environments only. Every refusal is a
400 or 404 with a JSON body ``{"message": ..., "mistakes": [...]}`` that names the field and what is allowed, and
changes nothing.
"""

import re

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from tair_simulator.control_access import add_access_routes
from tair_simulator.control_faults import add_fault_routes
from tair_simulator.control_input import CLOUD, PREFIX, json_body, not_found
from tair_simulator.control_roles import add_role_routes
from tair_simulator.drift import describe
from tair_simulator.instances import InstanceId
from tair_simulator.mistakes import InputError
from tair_simulator.transitions import Record

LEDGER_FILTERS = ("action", "after", "instanceId")

_INSTANCE_ID: TypeAdapter[str] = TypeAdapter(InstanceId)


def add_control_routes(app: web.Application) -> None:
    """Serve the control API from this application."""
    app.router.add_get(f"{PREFIX}/healthz", healthz)
    app.router.add_get(f"{PREFIX}/instances", list_instances)
    app.router.add_get(f"{PREFIX}/instances/{{id}}", get_instance)
    app.router.add_put(f"{PREFIX}/instances/{{id}}", put_instance)
    app.router.add_delete(f"{PREFIX}/instances/{{id}}", delete_instance)
    app.router.add_get(f"{PREFIX}/ledger", get_ledger)
    app.router.add_post(f"{PREFIX}/reset", reset)
    add_access_routes(app)
    add_role_routes(app)
    add_fault_routes(app)


async def healthz(_request: web.Request) -> web.Response:
    """Answer that the simulator serves."""
    return web.json_response({"status": "ok"})


async def list_instances(request: web.Request) -> web.Response:
    """Return all instances as they are now."""
    return web.json_response([_show(request, record) for record in request.app[CLOUD].records()])


async def get_instance(request: web.Request) -> web.Response:
    """Return one instance as it is now."""
    record = request.app[CLOUD].find(request.match_info["id"])
    return _no_instance() if record is None else web.json_response(_show(request, record))


async def put_instance(request: web.Request) -> web.Response:
    """Create an instance, or change the fields in the body; answer 201 or 200 with the instance."""
    instance_id = request.match_info["id"]
    try:
        _INSTANCE_ID.validate_python(instance_id)
    except ValidationError:
        raise InputError(["instance id in the path: use a-z, 0-9 and hyphens, at most 63, first a letter"]) from None
    written = await json_body(request)
    existed = request.app[CLOUD].find(instance_id) is not None
    record = request.app[CLOUD].put(instance_id, written)
    return web.json_response(_show(request, record), status=200 if existed else 201)


async def delete_instance(request: web.Request) -> web.Response:
    """Remove an instance, as somebody would in the console."""
    return web.Response(status=204) if request.app[CLOUD].delete(request.match_info["id"]) else _no_instance()


async def get_ledger(request: web.Request) -> web.Response:
    """Return the calls so far, oldest first; filters ``action``, ``instanceId`` and ``after``, a sequence number."""
    unknown = sorted(set(request.query) - set(LEDGER_FILTERS))
    if unknown:
        raise InputError(f"{name}: unknown filter; allowed: {', '.join(LEDGER_FILTERS)}" for name in unknown)
    after = request.query.get("after", "0")
    if not re.fullmatch(r"[0-9]{1,15}", after):
        raise InputError(["after: must be the sequence number of a call"])
    ledger = request.app[CLOUD].ledger
    entries = ledger.entries(request.query.get("action"), request.query.get("instanceId"), after=int(after))
    return web.json_response([entry.to_json() for entry in entries])


async def reset(request: web.Request) -> web.Response:
    """Go back to the seed."""
    request.app[CLOUD].reset()
    return web.Response(status=204)


def _show(request: web.Request, record: Record) -> dict[str, object]:
    return describe(record, request.app[CLOUD].clock())


def _no_instance() -> web.Response:
    return not_found("instance id in the path: no such instance")
