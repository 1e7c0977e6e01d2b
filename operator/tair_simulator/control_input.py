"""What all parts of the control API share: where it lives, how it reads a body, and how it says no."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from tair_simulator.cloud import Cloud
from tair_simulator.mistakes import InputError

CLOUD = web.AppKey("cloud", Cloud)
PREFIX = "/_simulator"


@web.middleware
async def refuse_bad_input(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn what a person wrote wrongly into a 400 that says so."""
    try:
        return await handler(request)
    except InputError as error:
        return web.json_response({"message": str(error), "mistakes": error.lines}, status=400)
    except web.HTTPException as error:
        if not request.path.startswith(f"{PREFIX}/"):
            raise
        return web.json_response({"message": error.reason, "mistakes": [error.reason]}, status=error.status)


async def json_body(request: web.Request) -> object:
    """Return the body of a request; raise ``InputError`` if it is not JSON."""
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError):
        raise InputError(["(top level): the body must be JSON"]) from None


def not_found(mistake: str) -> web.Response:
    """Answer 404 with one mistake."""
    return web.json_response({"message": mistake, "mistakes": [mistake]}, status=404)
