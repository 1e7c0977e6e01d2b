"""What an operator asks of the API server when it serves some namespaces, or one shard: kopf and our own requests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import kopf
import pytest
from aiohttp import web

from tair_operator.cluster import ApiServer, KubernetesCluster, open_cluster
from tair_operator.handlers import watch
from tair_operator.models import TairInstance
from tair_operator.ports import ClusterRefusedError, Key
from tair_operator.queue import WorkQueue
from tair_operator.scope import Scope

GROUP = "/apis/tair.alibabacloud.com"
CLUSTER = f"{GROUP}/v1alpha1/tairinstances"
IN_A = f"{GROUP}/v1alpha1/namespaces/team-a/tairinstances"
IN_B = f"{GROUP}/v1alpha1/namespaces/team-b/tairinstances"
CRDS = "/apis/apiextensions.k8s.io/v1"


def served(plural: str, singular: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch"]
    return {"name": plural, "singularName": singular, "kind": kind, "namespaced": namespaced, "verbs": verbs}


# kopf waits until it has found all three, whether it may use them or not.
SERVED = {
    "/api/v1": [served("namespaces", "namespace", "Namespace", namespaced=False)],
    CRDS: [
        served("customresourcedefinitions", "customresourcedefinition", "CustomResourceDefinition", namespaced=False)
    ],
    f"{GROUP}/v1alpha1": [served("tairinstances", "tairinstance", "TairInstance", namespaced=True)],
}
DISCOVERY = {"/api", "/apis", *SERVED}
"""What every user who is authenticated may read."""
KEY = Key("team-a", "orders")


def stored(namespace: str, name: str, **status: object) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "5", "generation": 1},
        "spec": {"instanceId": f"r-{name}", "regionId": "cn-hangzhou"},
        "status": status,
    }


@dataclass
class FakeApi:
    """Serves discovery, lists and watches of TairInstances, and keeps what it was asked."""

    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    url: str = ""
    streams: set[str] = field(default_factory=set)
    has_changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, query = request.path, dict(request.query)
        self.asked.append((path, query))
        if path in self.forbidden:
            return web.json_response({"reason": "Forbidden", "message": f"cannot list in {path}"}, status=403)
        if query.get("watch") == "true":
            return await self._stream(request)
        if path.endswith("/tairinstances"):
            return web.json_response({"items": self.items.get(path, []), "metadata": {"resourceVersion": "5"}})
        return web.json_response(self._discovery(path))

    def of(self, path: str, *, is_watch: bool) -> list[dict[str, str]]:
        """Return the queries that a path was asked with."""
        return [query for asked, query in self.asked if asked == path and ("watch" in query) is is_watch]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in self.events.get(request.path, []):
            await response.write(json.dumps(event).encode() + b"\n")
        self.streams.add(request.path)
        self.has_changed.set()
        self.has_changed.clear()
        await asyncio.sleep(60)
        return response

    def _discovery(self, path: str) -> dict[str, Any]:
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups = [
                {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}
                for group, version in (
                    place.removeprefix("/apis/").split("/") for place in SERVED if place != "/api/v1"
                )
            ]
            return {"groups": groups}
        return {"resources": SERVED.get(path, []), "items": [], "metadata": {"resourceVersion": "1"}}


@asynccontextmanager
async def serving(api: FakeApi, scope: Scope) -> AsyncIterator[KubernetesCluster]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with open_cluster(ApiServer(url=api.url, tls=None), scope) as cluster:
            yield cluster
    finally:
        await runner.cleanup()


async def watched(api: FakeApi, scope: Scope) -> Key | None:
    """Watch until every place of the scope is, and return what the events there ask to be worked on."""
    queue, ready, stop = WorkQueue(jitter=lambda: 0.0), asyncio.Event(), asyncio.Event()

    async def connect() -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=api.url)

    places = {f"{GROUP}/v1alpha1/namespaces/{name}/tairinstances" for name in scope.namespaces} or {CLUSTER}
    async with serving(api, scope):
        watching = asyncio.create_task(watch(queue, connect, ready, stop, scope))
        async with asyncio.timeout(20):
            while api.streams < places:
                await api.has_changed.wait()
            found = await queue.get() if api.events else None
        stop.set()
        await watching
    return found


async def test_single_namespaces_are_watched_and_nothing_is_asked_of_the_cluster() -> None:
    api = FakeApi(events={IN_B: [{"type": "ADDED", "object": stored("team-b", "new")}]})
    found = await watched(api, Scope(("team-a", "team-b")))

    assert found == Key("team-b", "new")
    assert {path for path, _ in api.asked} - DISCOVERY == {IN_A, IN_B}


async def test_the_selector_of_a_shard_is_part_of_the_list_and_of_the_watch() -> None:
    api = FakeApi()
    await watched(api, Scope(selector="shard in (a,b)"))

    assert {query.get("labelSelector") for query in api.of(CLUSTER, is_watch=True)} == {"shard in (a,b)"}
    assert {query.get("labelSelector") for query in api.of(CLUSTER, is_watch=False)} == {"shard in (a,b)"}
    # kopf also watches which resources there are, and these have no label of ours.
    assert [path for path, query in api.asked if "labelSelector" in query and path != CLUSTER] == []


async def test_both_go_together() -> None:
    api = FakeApi()
    await watched(api, Scope(("team-a",), "shard=a"))

    assert {path for path, _ in api.asked} - DISCOVERY == {IN_A}
    assert {query.get("labelSelector") for query in api.of(IN_A, is_watch=True)} == {"shard=a"}


async def test_a_resource_that_leaves_the_shard_is_looked_at_once_more_and_read_as_gone() -> None:
    settled = stored("team-a", "orders", observedGeneration=1)
    api = FakeApi(events={CLUSTER: [{"type": "DELETED", "object": settled}]})
    found = await watched(api, Scope(selector="shard=a"))
    async with serving(api, Scope(selector="shard=a")) as cluster:
        read = await cluster.get(KEY)

    assert found == KEY
    assert read is None


async def test_the_api_server_says_whether_a_resource_is_of_this_shard() -> None:
    api = FakeApi(items={IN_A: [stored("team-a", "orders")]})
    async with serving(api, Scope(selector="shard=a")) as cluster:
        found = await cluster.get(KEY)

    assert found is not None
    assert found.metadata.name == "orders"
    [query] = api.of(IN_A, is_watch=False)
    assert query == {"fieldSelector": "metadata.name=orders", "labelSelector": "shard=a", "limit": "500"}


@pytest.mark.parametrize("selector", [None, "shard=a"])
async def test_claims_are_looked_for_in_all_watched_namespaces_and_in_all_shards(selector: str | None) -> None:
    api = FakeApi(items={IN_A: [stored("team-a", "one")], IN_B: [stored("team-b", "two")]})
    async with serving(api, Scope(("team-a", "team-b"), selector)) as cluster:
        claims = await cluster.claims("r-1")

    assert sorted(claim.metadata.name for claim in claims) == ["one", "two"]
    assert {path for path, _ in api.asked} == {IN_A, IN_B}
    assert [query for _, query in api.asked] == [{"fieldSelector": "spec.instanceId=r-1", "limit": "500"}] * 2


async def everything(cluster: KubernetesCluster) -> list[TairInstance]:
    return [found async for page in cluster.list_all() for found in page]


async def test_the_list_is_that_of_the_shard() -> None:
    api = FakeApi(items={IN_A: [stored("team-a", "one")], IN_B: [stored("team-b", "two")]})
    async with serving(api, Scope(("team-a", "team-b"), "shard=a")) as cluster:
        found = await everything(cluster)

    assert [one.metadata.name for one in found] == ["one", "two"]
    assert [query["labelSelector"] for _, query in api.asked] == ["shard=a", "shard=a"]


async def test_a_namespace_that_does_not_let_the_operator_in_is_named_and_nothing_is_half_known() -> None:
    api = FakeApi(items={IN_A: [stored("team-a", "one")]}, forbidden={IN_B})
    async with serving(api, Scope(("team-a", "team-b"))) as cluster:
        for question in (everything(cluster), cluster.claims("r-1"), cluster.is_served()):
            with pytest.raises(ClusterRefusedError, match=r"bind the Role there, or take .* out of .*team-b"):
                await question


async def test_served_means_in_every_watched_namespace() -> None:
    api = FakeApi()
    async with serving(api, Scope(("team-a", "team-b"))) as cluster:
        is_served = await cluster.is_served()

    assert is_served is True
    assert [(path, query) for path, query in api.asked if path in {IN_A, IN_B}] == [
        (IN_A, {"limit": "1"}),
        (IN_B, {"limit": "1"}),
    ]
