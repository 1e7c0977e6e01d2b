"""Probes and metrics over HTTP."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from tair_operator import metrics
from tair_operator.web import build_app, serve


class Health:
    """What the two checks answer."""

    stuck: str | None = None
    unready: str | None = None


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    app = build_app(lambda: health.stuck, lambda: health.unready)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_probe_that_finds_nothing_wrong_is_ok(client: TestClient, path: str) -> None:  # type: ignore[type-arg]
    response = await client.get(path)

    assert (response.status, await response.text()) == (200, "ok\n")


async def test_a_probe_says_what_is_wrong(client: TestClient, health: Health) -> None:  # type: ignore[type-arg]
    health.unready = "waiting for the CRD"
    ready, alive = await client.get("/readyz"), await client.get("/livez")

    assert (ready.status, await ready.text()) == (503, "waiting for the CRD\n")
    assert alive.status == 200


async def test_a_standby_is_ready_and_says_that_it_is_one() -> None:
    async with TestClient(TestServer(build_app(lambda: None, lambda: None, role=lambda: "standby"))) as client:
        ready, alive = await client.get("/readyz"), await client.get("/livez")

        assert (ready.status, await ready.text()) == (200, "standby\n")
        assert (alive.status, await alive.text()) == (200, "ok\n")


async def test_metrics_are_served_in_the_text_format(client: TestClient) -> None:  # type: ignore[type-arg]
    metrics.queue_depth.labels(metrics.CONTROLLER).set(3)
    response = await client.get("/metrics")

    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'workqueue_depth{name="tairinstance"} 3.0\n' in await response.text()


async def test_it_serves_while_the_context_lasts_and_then_frees_the_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = build_app(lambda: None, lambda: None)

    async with serve(app, "127.0.0.1", port), ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/livez") as response:
            status = response.status
        with pytest.raises(OSError, match="address already in use"):
            async with serve(build_app(lambda: None, lambda: None), "127.0.0.1", port):
                pass

    assert status == 200
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
