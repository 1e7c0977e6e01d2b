"""Probes and metrics over HTTP: ``/livez``, ``/readyz`` and ``/metrics``.

The server starts before anything else, so that a pod that waits for its CRD or
for the API server can say so. Not being ready is no reason to be killed; a
stuck pass or a dead watch is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tair_operator import metrics

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


def build_app(livez: Check, readyz: Check, role: Callable[[], str] = lambda: "ok") -> web.Application:
    """Return the application; each check is asked at each request and has to be quick.

    ``role`` is what /readyz says when nothing is wrong.
    """
    app = web.Application()
    app.router.add_get("/livez", _probe(livez))
    app.router.add_get("/readyz", _probe(readyz, role))
    app.router.add_get("/metrics", _metrics)
    return app


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    """Serve the application while the context lasts.

    Raises:
        OSError: the address cannot be listened on.

    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _probe(check: Check, role: Callable[[], str] = lambda: "ok") -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text=f"{role() if wrong is None else wrong}\n", status=200 if wrong is None else 503)

    return answer


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
