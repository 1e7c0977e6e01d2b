"""The adapter to Kubernetes, against a scripted API server: what a real one does only when it is in trouble."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tair_operator.cluster import (
    ApiServer,
    ClusterConfigError,
    KubernetesCluster,
    find_api_server,
    open_cluster,
    resources,
    server,
)
from tair_operator.cluster.leases import Lease, Leases
from tair_operator.models import Outcome
from tair_operator.ports import ClusterRefusedError, ClusterUnavailableError, ConflictError
from tair_operator.stopwatch import timing
from tests.builders import KEY, NOW, operation, resource, seconds
from tests.meters import Meter

STORED = {
    "metadata": {"name": "orders-cache", "namespace": "shop", "uid": "uid-1", "resourceVersion": "2"},
    "spec": {"instanceId": "r-bp1", "regionId": "cn-hangzhou"},
}
FAILED_TEST = (422, {"reason": "Invalid", "message": "the server rejected our request", "details": {}})
BAD_STATUS = (422, {"reason": "Invalid", "message": "is invalid", "details": {"causes": [{"field": "status.history"}]}})
REFUSALS = {
    "schema": BAD_STATUS,
    "policy": (422, {"reason": "Invalid", "message": "ValidatingAdmissionPolicy 'x' denied request", "details": {}}),
    "role": (403, {"reason": "Forbidden", "message": "may not patch"}),
    "webhook": (500, {"reason": "InternalError", "message": 'failed calling webhook "x": connection refused'}),
}
UNAVAILABLE = (503, {"reason": "ServiceUnavailable", "message": "try later"})


@dataclass
class Script:
    """Answers each request with the next reply, and keeps the requests."""

    replies: deque[tuple[int, object]] = field(default_factory=deque)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        status, body = self.replies.popleft()
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


@asynccontextmanager
async def serving(
    *replies: tuple[int, object], token_file: Path | None = None
) -> AsyncIterator[tuple[KubernetesCluster, Script]]:
    script = Script(deque(replies))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with open_cluster(ApiServer(url=f"http://127.0.0.1:{port}", tls=None, token_file=token_file)) as cluster:
            yield cluster, script
    finally:
        await runner.cleanup()


async def test_a_resource_that_is_gone_is_none() -> None:
    async with serving((404, {"reason": "NotFound"})) as (cluster, _):
        assert await cluster.get(KEY) is None


@pytest.mark.parametrize("reply", [UNAVAILABLE, (200, "<html>"), (401, {}), (500, ""), (404, "404 page not found")])
async def test_an_api_server_in_trouble_is_unavailable(reply: tuple[int, object]) -> None:
    async with serving(reply) as (cluster, _):
        with pytest.raises(ClusterUnavailableError):
            await cluster.get(KEY)


async def test_nobody_answering_is_unavailable() -> None:
    async with open_cluster(ApiServer(url="http://127.0.0.1:1", tls=None)) as cluster:
        with pytest.raises(ClusterUnavailableError, match="did not answer GET"):
            await cluster.get(KEY)


async def test_a_list_is_read_in_chunks_to_its_end() -> None:
    first = {"items": [STORED], "metadata": {"continue": "more"}}
    async with serving((200, first), (200, {"items": [STORED], "metadata": {}})) as (cluster, script):
        found = [[resource.metadata.name for resource in page] async for page in cluster.list_all()]

    assert found == [["orders-cache"], ["orders-cache"]]
    assert [request.query.get("continue") for request in script.requests] == [None, "more"]


async def test_a_resource_that_cannot_be_read_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    bad = {"metadata": {"name": "bad", "namespace": "shop"}, "spec": {}}
    async with serving((200, {"items": [bad, STORED]})) as (cluster, _):
        found = [one async for page in cluster.list_all() for one in page]

    assert [one.metadata.name for one in found] == ["orders-cache"]
    assert "cannot be read" in caplog.text


async def test_the_crd_is_missing_when_the_group_is() -> None:
    async with serving((404, "404 page not found"), (200, {"resources": [{"name": "tairinstances"}]})) as (cluster, _):
        assert not await cluster.is_served()
        assert await cluster.is_served()


@pytest.mark.parametrize("reply", [FAILED_TEST, (409, {"reason": "Conflict"}), (404, {"reason": "NotFound"})])
async def test_a_view_that_is_stale_is_a_conflict(reply: tuple[int, object]) -> None:
    async with serving(reply) as (cluster, script):
        with pytest.raises(ConflictError):
            await cluster.write_status(resource(), resource().status)

    assert [step["op"] for step in script.bodies[0]] == ["test", "test", "add"]
    assert script.bodies[0][0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}


@pytest.mark.parametrize("kind", ["schema", "policy"])
async def test_a_status_that_the_schema_refuses_is_no_conflict(kind: str) -> None:
    async with serving(REFUSALS[kind]) as (cluster, _):
        with pytest.raises(ClusterUnavailableError, match=r"422 Invalid: (is invalid|ValidatingAdmissionPolicy)"):
            await cluster.write_status(resource(), resource().status)


async def test_an_answer_is_written_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "ANSWER_PAUSES", (0.0,))
    answered = operation(outcome=Outcome.ACCEPTED, request_id="R-1")
    async with serving(UNAVAILABLE, (200, "not json"), (200, STORED)) as (cluster, script):
        assert await cluster.write_answer(resource(), answered)

    assert script.bodies[0] == script.bodies[1] == script.bodies[2]
    assert [(step["op"], step["path"]) for step in script.bodies[0]] == [
        ("test", "/metadata/uid"),
        ("test", "/status/operation/id"),
        ("test", "/status/operation/finishedAt"),
        ("add", "/status/operation"),
        ("add", "/status/requestId"),
    ]


@pytest.mark.parametrize("reply", REFUSALS.values(), ids=REFUSALS)
async def test_an_answer_that_is_refused_is_given_back(
    monkeypatch: pytest.MonkeyPatch, reply: tuple[int, object]
) -> None:
    monkeypatch.setattr(resources, "ANSWER_PAUSES", (0.0,))
    async with serving(UNAVAILABLE, reply) as (cluster, script):
        with pytest.raises(ClusterRefusedError):
            await cluster.write_answer(resource(), operation(outcome=Outcome.UNKNOWN))

    assert len(script.bodies) == 2


@pytest.mark.parametrize("reply", [FAILED_TEST, (404, {"reason": "NotFound"})])
async def test_an_answer_for_a_resource_that_moved_on_is_dropped(reply: tuple[int, object]) -> None:
    async with serving(reply, (404, {"reason": "NotFound"})) as (cluster, script):
        assert not await cluster.write_answer(resource(), operation(outcome=Outcome.UNKNOWN))

    assert len(script.bodies[0]) == 4


@pytest.mark.parametrize(("stored", "is_there"), [("Rejected", True), ("Succeeded", False)])
async def test_an_answer_that_was_written_unheard_of_is_not_reported_as_lost(
    monkeypatch: pytest.MonkeyPatch,
    stored: str,
    is_there: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(resources, "ANSWER_PAUSES", (0.0,))
    answered = operation(outcome=Outcome.REJECTED)
    shown = {
        "id": answered.id,
        "action": "ReleaseDirectConnection",
        "generation": 1,
        "attempt": 1,
        "startedAt": "2026-03-02T12:00:00Z",
        "outcome": stored,
    }
    async with serving(UNAVAILABLE, FAILED_TEST, (200, STORED | {"status": {"operation": shown}})) as (cluster, _):
        assert await cluster.write_answer(resource(), answered) is is_there


async def test_a_mounted_token_is_read_again_after_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    async with serving(*[(404, {"reason": "NotFound"})] * 3, token_file=token) as (cluster, script):
        await cluster.get(KEY)
        token.write_text("second\n")
        await cluster.get(KEY)
        monkeypatch.setattr(server, "TOKEN_SECONDS", 0.0)
        await cluster.get(KEY)

    assert [request.headers["Authorization"] for request in script.requests] == [
        "Bearer first",
        "Bearer first",
        "Bearer second",
    ]


async def test_a_token_that_cannot_be_read_is_no_reason_to_lose_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "ANSWER_PAUSES", (0.01,))
    token = tmp_path / "token"
    async with serving((200, STORED), token_file=token) as (cluster, _):
        writing = asyncio.create_task(cluster.write_answer(resource(), operation(outcome=Outcome.UNKNOWN)))
        await asyncio.sleep(0.05)
        is_waiting = not writing.done()
        token.write_text("there")
        is_written = await writing

    assert is_waiting
    assert is_written


async def test_an_api_server_that_hangs_is_waiting_and_no_work() -> None:
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_cluster(ApiServer(url=f"http://127.0.0.1:{port}", tls=None)) as cluster:
            with timing() as stopwatch, pytest.raises(ClusterUnavailableError):
                await cluster.get(KEY)

    assert stopwatch.seconds() < 0.4


@pytest.mark.parametrize("content", [None, "", "{}", "not: [yaml", "clusters: 5"])
async def test_without_a_usable_kubeconfig_the_start_says_what_to_do(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ClusterConfigError, match="set KUBECONFIG to a readable kubeconfig"):
        await find_api_server({"KUBECONFIG": str(path)})


async def test_every_request_counts_once_by_its_status() -> None:
    requests, lengths = Meter("rest_client_requests_total"), Meter("rest_client_request_duration_seconds_count")
    async with serving((200, STORED), (404, {}), UNAVAILABLE, (200, "<html>")) as (cluster, _):
        host = cluster.api.server.host
        for _number in range(4):
            with suppress(ClusterUnavailableError):
                await cluster.get(KEY)
        gained = requests.gained()
    nowhere = ApiServer(url="http://127.0.0.1:1/prefix", tls=None)
    async with open_cluster(nowhere) as cluster:
        with pytest.raises(ClusterUnavailableError):
            await cluster.get(KEY)

    assert gained == {("200", "GET", host): 2, ("404", "GET", host): 1, ("503", "GET", host): 1}
    assert requests.gained() == gained | {("<error>", "GET", "127.0.0.1:1"): 1}
    assert lengths.gained() == {("GET", host): 4, ("GET", "127.0.0.1:1"): 1}


async def test_a_wait_for_a_change_counts_and_has_no_length() -> None:
    requests, lengths = Meter("rest_client_requests_total"), Meter("rest_client_request_duration_seconds_count")
    async with serving((200, '{"type": "MODIFIED"}\n'), (403, {})) as (cluster, _):
        leases = Leases(cluster.api, "tair-system", "tair-operator", lambda: NOW)
        lease = Lease("one", seconds(15), version="1")
        seen = [await leases.has_changed(lease, seconds(5)) for _number in range(2)]
        host = cluster.api.server.host

    assert seen == [True, False]
    assert requests.gained() == {("200", "GET", host): 1, ("403", "GET", host): 1}
    assert lengths.gained() == {}
