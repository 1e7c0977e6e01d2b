"""Probes and metrics over HTTP."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from tair_operator.web import build_app, serve


class Health:
    """What the checks answer."""

    late: str | None = None
    stuck: str | None = None
    unready: str | None = None


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    app = build_app(
        {"loop": lambda: health.late, "passes": lambda: health.stuck}, {"resources": lambda: health.unready}
    )
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
    async with TestClient(TestServer(build_app({}, {}, role=lambda: "standby"))) as client:
        ready, alive = await client.get("/readyz"), await client.get("/livez")

        assert (ready.status, await ready.text()) == (200, "standby\n")
        assert (alive.status, await alive.text()) == (200, "ok\n")


async def test_a_probe_names_all_that_is_wrong(client: TestClient, health: Health) -> None:  # type: ignore[type-arg]
    health.late, health.stuck = "the event loop is 9.0 s late", "a pass has been at work for 95 s"
    alive = await client.get("/livez")

    assert (alive.status, await alive.text()) == (
        503,
        "the event loop is 9.0 s late; a pass has been at work for 95 s\n",
    )


async def test_a_verbose_probe_lists_each_check_as_kube_apiserver_does(
    client: TestClient,  # type: ignore[type-arg]
    health: Health,
) -> None:
    health.stuck = "a pass has been at work for 95 s"
    alive, ready = await client.get("/livez?verbose"), await client.get("/readyz?verbose=1")

    assert (alive.status, await alive.text()) == (
        503,
        "[+]loop ok\n[-]passes failed: a pass has been at work for 95 s\nlivez check failed\n",
    )
    assert (ready.status, await ready.text()) == (200, "[+]resources ok\nreadyz check passed\n")


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8", ""),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", ""),
        (
            PROMETHEUS,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            "# EOF\n",
        ),
    ],
)
async def test_metrics_are_served_in_the_format_that_is_asked_for(
    client: TestClient,  # type: ignore[type-arg]
    accept: str | None,
    content_type: str,
    end: str,
) -> None:
    response = await client.get("/metrics", headers={"Accept": accept} if accept else {})
    text = await response.text()

    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    assert 'controller_runtime_max_concurrent_reconciles{controller="tairinstance"}' in text
    assert text.endswith(end)
    assert end or "# EOF" not in text


async def test_a_head_of_the_metrics_is_answered_without_them(client: TestClient) -> None:  # type: ignore[type-arg]
    response = await client.head("/metrics")

    assert (response.status, await response.read()) == (200, b"")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_it_serves_while_the_context_lasts_and_then_frees_the_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = build_app({}, {})

    async with serve(app, "127.0.0.1", port), ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/livez") as response:
            status = response.status
        with pytest.raises(OSError, match="address already in use"):
            async with serve(build_app({}, {}), "127.0.0.1", port):
                pass

    assert status == 200
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
