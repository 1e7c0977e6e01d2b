"""What users, colleagues and the cloud do while the faults happen; each scenario ends in one state, whatever fails."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tair_operator.models import ANNOTATION_APPROVE
from tair_operator.ports import Key
from tests.builders import ID, KEY, REGION
from tests.faults.kubernetes import Body
from tests.faults.world import World

YOUNGER = Key("shop", "orders-cache-again")
EARLY, LATER = "2026-03-01T08:00:00Z", "2026-03-01T09:00:00Z"
CREDENTIALS_PATH = "/api/v1/namespaces/shop/secrets/tair-keys"
PATIENCE = 7200.0


@dataclass(frozen=True)
class Scenario:
    """``prepare`` makes what is there before the operator starts, ``happen`` what happens afterwards."""

    prepare: Callable[[World], None]
    happen: Callable[[World], Awaitable[None]] | None = None
    skips: bool = False
    """Whether a fault may make the operator miss a value that the manifest had for a moment only."""


def manifest(world: World, key: Key = KEY, created: str = EARLY, **spec: object) -> Body:
    """Create a TairInstance about the one instance."""
    return world.kubernetes.create(key, created, instanceId=ID, regionId=REGION, **spec)


async def at(time: float) -> None:
    """Wait until this many seconds after the beginning."""
    await asyncio.sleep(max(0.0, time - asyncio.get_running_loop().time()))


def ready(world: World, key: Key = KEY) -> Body:
    """Return the condition Ready; empty where there is none."""
    conditions = world.kubernetes.found(key).get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


async def until_ready(world: World, key: Key = KEY) -> None:
    """Wait until the wanted value is reached, as a user does; not for ever."""
    while asyncio.get_running_loop().time() < PATIENCE:
        found = world.kubernetes.found(key)
        condition = ready(world, key)
        if condition.get("status") == "True" and condition["observedGeneration"] == found["metadata"]["generation"]:
            return
        await asyncio.sleep(1)


def is_there(world: World) -> bool:
    """Whether the console shows an endpoint."""
    view = world.cloud.view(ID)
    return view is not None and view.endpoint is not None


def approve(world: World) -> None:
    """Approve the plan that is shown, if there is one that is not approved yet."""
    found = world.kubernetes.found(KEY)
    plan = found.get("status", {}).get("plan")
    if plan is not None and plan["id"] != found["metadata"].get("annotations", {}).get(ANNOTATION_APPROVE):
        world.kubernetes.annotate(KEY, **{ANNOTATION_APPROVE: plan["id"]})


def release() -> Scenario:
    """The manifest says false, and there is an endpoint."""

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=False)

    return Scenario(prepare)


def allocate() -> Scenario:
    """The manifest says true, and there is none."""

    def prepare(world: World) -> None:
        world.cloud.put(ID)
        manifest(world, directConnection=True)

    return Scenario(prepare)


def flip_flop() -> Scenario:
    """The manifest goes from true to false, and back to true while the release is under way."""

    async def happen(world: World) -> None:
        await at(20)
        world.kubernetes.edit(KEY, directConnection=False)
        await at(21.5)
        world.kubernetes.edit(KEY, directConnection=True)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=True)

    return Scenario(prepare, happen, skips=True)


def regret() -> Scenario:
    """The manifest goes to false and back to true at once: before the call, unless a fault is quicker."""

    async def happen(world: World) -> None:
        await at(20)
        world.kubernetes.edit(KEY, directConnection=False)
        # After the look, before the intent.
        await at(20.05)
        world.kubernetes.edit(KEY, directConnection=True)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=True)

    return Scenario(prepare, happen)


def delete() -> Scenario:
    """A resource with deletionPolicy Release allocates, and is deleted."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(30)
        world.kubernetes.delete(KEY)

    def prepare(world: World) -> None:
        world.cloud.put(ID)
        manifest(world, directConnection=True, deletionPolicy="Release")

    return Scenario(prepare, happen)


def approval() -> Scenario:
    """A release waits for a person, who approves whatever plan is shown."""

    async def happen(world: World) -> None:
        while ready(world).get("status") != "True" and asyncio.get_running_loop().time() < PATIENCE:
            await asyncio.sleep(15)
            approve(world)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=False, release={"approval": "Required"})

    return Scenario(prepare, happen)


def drain() -> Scenario:
    """The endpoint is published; before its release it is withdrawn, and clients get 20 seconds."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(30)
        world.kubernetes.edit(KEY, directConnection=False)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        publish = {"secretName": "orders-redis", "configMapName": "orders-redis"}
        manifest(world, directConnection=True, publish=publish, release={"drainSeconds": 20})

    return Scenario(prepare, happen)


def window() -> Scenario:
    """A release waits for the maintenance window, which opens after two minutes."""

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True, maintenanceWindow={"start": "12:02Z", "end": "11:00Z"})
        manifest(world, directConnection=False, release={"window": "Maintenance"})

    return Scenario(prepare)


def rotation() -> Scenario:
    """The AccessKey in the resource's own Secret is replaced, and the old one is disabled, before a release."""

    def put_key(world: World, key_id: str) -> None:
        data = {"accessKeyId": key_id, "accessKeySecret": "aSecretOfItsOwn"}
        encoded = {name: b64encode(text.encode()).decode() for name, text in data.items()}
        world.kubernetes.store(CREDENTIALS_PATH, {"kind": "Secret", "metadata": {}, "data": encoded})
        world.cloud.keys = {key_id}

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(30)
        put_key(world, "newKey")
        world.kubernetes.edit(KEY, directConnection=False)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        put_key(world, "oldKey")
        manifest(world, directConnection=True, credentials={"secretName": "tair-keys"})

    return Scenario(prepare, happen)


def duplicate() -> Scenario:
    """Two resources claim one instance and want opposite things; then the older one is deleted."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(60)
        world.kubernetes.delete(KEY)

    def prepare(world: World) -> None:
        world.cloud.put(ID)
        manifest(world, YOUNGER, LATER, directConnection=False)
        manifest(world, directConnection=True)

    return Scenario(prepare, happen)


def drift() -> Scenario:
    """Somebody releases in the console what the manifest wants."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(60)
        world.cloud.put(ID, directConnection=False)

    def prepare(world: World) -> None:
        world.cloud.put(ID)
        manifest(world, directConnection=True)

    return Scenario(prepare, happen)


def drift_back() -> Scenario:
    """Somebody allocates in the console what the manifest does not want, and driftPolicy is Correct."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(60)
        world.cloud.put(ID, directConnection=True)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=False, driftPolicy="Correct")

    return Scenario(prepare, happen)


def contested() -> Scenario:
    """Somebody allocates in the console again and again; driftPolicy Correct gives in after one release."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(60)
        world.cloud.put(ID, directConnection=True)
        while is_there(world) and asyncio.get_running_loop().time() < PATIENCE:  # noqa: ASYNC110 - as a person waits
            await asyncio.sleep(1)
        # Status still says Ready, of the time before.
        await asyncio.sleep(60)
        await until_ready(world)
        world.cloud.put(ID, directConnection=True)

    def prepare(world: World) -> None:
        world.cloud.put(ID)
        manifest(world, directConnection=False, driftPolicy="Correct")

    return Scenario(prepare, happen)


def adopted() -> Scenario:
    """A resource with deletionPolicy Release is deleted whose endpoint somebody else allocated: a person approves."""

    async def happen(world: World) -> None:
        await until_ready(world)
        await at(30)
        world.kubernetes.delete(KEY)
        while world.kubernetes.found(KEY) and asyncio.get_running_loop().time() < PATIENCE:
            await asyncio.sleep(15)
            approve(world)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=True, deletionPolicy="Release")

    return Scenario(prepare, happen)


def recreate() -> Scenario:
    """While its release is under way a resource is deleted, and created again with the opposite wish."""

    async def happen(world: World) -> None:
        await at(1)
        world.kubernetes.delete(KEY)
        await at(1.2)
        manifest(world, created=LATER, directConnection=True)

    def prepare(world: World) -> None:
        world.cloud.put(ID, directConnection=True)
        manifest(world, directConnection=False)

    return Scenario(prepare, happen, skips=True)


SCENARIOS: dict[str, Scenario] = {
    "release": release(),
    "allocate": allocate(),
    "flip-flop": flip_flop(),
    "regret": regret(),
    "delete": delete(),
    "approval": approval(),
    "drain": drain(),
    "window": window(),
    "rotation": rotation(),
    "duplicate": duplicate(),
    "drift": drift(),
    "drift-back": drift_back(),
    "contested": contested(),
    "adopted": adopted(),
    "recreate": recreate(),
}
