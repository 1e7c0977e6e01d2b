"""The part of the control API about callers: access keys with their policies, and flow control.

A secret goes in and is never shown; of a token, only until when it is valid.
"""

import re

from aiohttp import web

from tair_simulator.access_keys import show
from tair_simulator.control_input import CLOUD, PREFIX, json_body, not_found
from tair_simulator.mistakes import InputError, parse
from tair_simulator.throttling import Throttling

_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def add_access_routes(app: web.Application) -> None:
    """Serve this part of the control API from this application."""
    app.router.add_get(f"{PREFIX}/accessKeys", list_keys)
    app.router.add_get(f"{PREFIX}/accessKeys/{{id}}", get_key)
    app.router.add_put(f"{PREFIX}/accessKeys/{{id}}", put_key)
    app.router.add_delete(f"{PREFIX}/accessKeys/{{id}}", delete_key)
    app.router.add_get(f"{PREFIX}/throttling", get_throttling)
    app.router.add_put(f"{PREFIX}/throttling", put_throttling)


async def list_keys(request: web.Request) -> web.Response:
    """Return all access keys, without secrets."""
    cloud = request.app[CLOUD]
    return web.json_response([show(name, key, cloud.clock()) for name, key in cloud.keys.items()])


async def get_key(request: web.Request) -> web.Response:
    """Return one access key, without secrets."""
    cloud, name = request.app[CLOUD], request.match_info["id"]
    key = cloud.keys.get(name)
    return _no_key() if key is None else web.json_response(show(name, key, cloud.clock()))


async def put_key(request: web.Request) -> web.Response:
    """Create an access key, or change the fields in the body; answer 201 or 200 with the key, without secrets."""
    cloud, name = request.app[CLOUD], request.match_info["id"]
    if _ACCESS_KEY_ID.fullmatch(name) is None:
        raise InputError(["access key id in the path: use letters, digits, dot, hyphen and underscore, at most 128"])
    written = await json_body(request)
    existed = name in cloud.keys
    key = cloud.put_key(name, written)
    return web.json_response(show(name, key, cloud.clock()), status=200 if existed else 201)


async def delete_key(request: web.Request) -> web.Response:
    """Remove an access key."""
    return web.Response(status=204) if request.app[CLOUD].keys.pop(request.match_info["id"], None) else _no_key()


async def get_throttling(request: web.Request) -> web.Response:
    """Return the limits."""
    return _limits(request)


async def put_throttling(request: web.Request) -> web.Response:
    """Replace all limits and fill every bucket; an empty object turns flow control off."""
    request.app[CLOUD].put_throttling(parse(Throttling, await json_body(request)))
    return _limits(request)


def _limits(request: web.Request) -> web.Response:
    return web.json_response(request.app[CLOUD].throttle.limits.model_dump(mode="json", by_alias=True))


def _no_key() -> web.Response:
    return not_found("access key id in the path: no such access key")
