"""Probes and metrics over HTTP: ``/livez``, ``/readyz`` and ``/metrics``.

The server starts before anything else, so that a pod that waits for its CRD or
for the API server can say so. Not being ready is no reason to be killed; a
stuck pass or a dead watch is. With ``?verbose`` a probe lists each check, in
the words of kube-apiserver.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from tair_operator import metrics

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


def build_app(
    livez: Mapping[str, Check], readyz: Mapping[str, Check], role: Callable[[], str] = lambda: "ok"
) -> web.Application:
    """Return the application; each check is asked at each request and has to be quick.

    ``role`` is what /readyz says when nothing is wrong.
    """
    app = web.Application()
    app.router.add_get("/livez", _probe("livez", livez, lambda: "ok"))
    app.router.add_get("/readyz", _probe("readyz", readyz, role))
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


def _probe(
    name: str, checks: Mapping[str, Check], role: Callable[[], str]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        found = {check: ask() for check, ask in checks.items()}
        wrong = [trouble for trouble in found.values() if trouble is not None]
        if "verbose" in request.query:
            lines = [f"[-]{check} failed: {why}" if why else f"[+]{check} ok" for check, why in found.items()]
            text = "\n".join([*lines, f"{name} check {'failed' if wrong else 'passed'}"])
        else:
            text = "; ".join(wrong) or role()
        return web.Response(text=f"{text}\n", status=503 if wrong else 200)

    return answer


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = metrics.expose(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
