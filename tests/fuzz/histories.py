"""What users do to one resource, one edit after another: the operator always comes to rest, where the last spec leads.

The half of Acto that a seam of faults does not have: sequences of valid specs. It
runs in the worlds of ``tests/faults``, whose judge watches every moment.
"""

import asyncio
import json
import re
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.builders import ID, KEY, REGION
from tests.faults.explore import HORIZON, QUIET_SECONDS, STEP_SECONDS, operating
from tests.faults.faults import Plan
from tests.faults.kubernetes import path_of
from tests.faults.oracle import Judge
from tests.faults.scenarios import approve, manifest
from tests.faults.world import World
from tests.fuzz.target import Case, Target
from tests.virtual_time import VirtualLoop

Spec = dict[str, Any]
QUIET = "quiet"
"""In the place of a time to wait: until the operator has come to rest."""

specs = st.fixed_dictionaries(
    {},
    optional={
        "directConnection": st.booleans(),
        "deletionPolicy": st.sampled_from(["Retain", "Release"]),
        "driftPolicy": st.sampled_from(["Correct", "AllocateOnly", "Report"]),
        "release": st.fixed_dictionaries(
            {},
            optional={"approval": st.sampled_from(["Automatic", "Required"]), "drainSeconds": st.sampled_from([0, 20])},
        ),
        "publish": st.sampled_from([{"secretName": "orders-redis"}, {"configMapName": "orders"}]),
        "endpoint": st.sampled_from([{"port": 6380}, {"prefix": "orders00"}]),
        "resyncSeconds": st.sampled_from([0, 60, 300]),
        "suspend": st.booleans(),
    },
)
pauses = st.sampled_from([0.0, 0.05, 0.3, 1.2, 5.0, 31.0, QUIET])
edits = st.fixed_dictionaries({"do": st.just("edit"), "spec": specs, "then": pauses})
others = st.fixed_dictionaries({"do": st.sampled_from(["delete", "approve"]), "then": pauses})
histories = st.fixed_dictionaries(
    {"there": st.booleans(), "steps": st.lists(edits | edits | others, min_size=1, max_size=6)}
)


def check(case: Case) -> None:
    """Live through the steps, come to rest, and be where the last spec alone leads to from there."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        found = runner.run(_live(case["there"], case["steps"]))
    assert found == []


def check_return(case: Case) -> None:
    """A, then B, then A again: the end is that of A."""
    first, second = case["specs"]
    once = [{"do": "edit", "spec": first, "then": QUIET}]
    back = [*once, {"do": "edit", "spec": second, "then": case["then"]}, *once]
    ends = []
    for steps in (once, back):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            end: list[dict[str, Any]] = []
            assert runner.run(_live(case["there"], steps, end)) == []
        ends += end
    assert ends[0] == ends[1]


async def _live(is_there: bool, steps: list[Case], end: list[dict[str, Any]] | None = None) -> list[str]:  # noqa: FBT001
    world = World(Plan("release"))
    judge = Judge(world)
    world.cloud.put(ID, directConnection=is_there)
    async with operating(world):
        for number, step in enumerate(steps):
            _do(world, step, number)
            if step["then"] == QUIET:
                await _rest(world)
            else:
                await asyncio.sleep(step["then"])
        is_at_rest = await _rest(world)
    found = [*judge.violations, *world.errors]
    if not is_at_rest:
        found.append("it never comes to rest")
    if end is not None:
        end.append(_essence(judge))
    return found


def _do(world: World, step: Case, number: int) -> None:
    body = world.kubernetes.found(KEY)
    match step["do"]:
        case "edit" if not body:
            manifest(world, created=f"2026-03-01T08:00:{number:02}Z", **deepcopy(step["spec"]))
        case "edit" if not body["metadata"].get("deletionTimestamp"):
            spec = {"instanceId": ID, "regionId": REGION, **step["spec"]}
            if spec != body["spec"]:
                world.kubernetes.store(path_of(KEY), _edited(body, spec))
        case "delete" if body:
            world.kubernetes.delete(KEY)
        case "approve" if body:
            approve(world)
        case _:
            pass


def _edited(body: dict[str, Any], spec: Spec) -> dict[str, Any]:
    return {**body, "spec": spec, "metadata": {**body["metadata"], "generation": body["metadata"]["generation"] + 1}}


async def _rest(world: World) -> bool:
    """Wait until nothing has been written or called for long; whether that was reached."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + HORIZON:
        writes, calls = world.kubernetes.writes, world.cloud.ledger
        last = max(writes[-1].time if writes else 0.0, calls[-1].time if calls else 0.0, began)
        if loop.time() - last > QUIET_SECONDS:
            return True
        await asyncio.sleep(STEP_SECONDS)
    return False


def _essence(judge: Judge) -> Any:  # noqa: ANN401
    """Return the end of both worlds; no plan has the id of an earlier one, so that no approval is good for two."""
    return json.loads(re.sub(r"approve-release=[0-9a-f]{12}", "approve-release=ID", json.dumps(judge.essence())))


# One that is suspended never gets to where it leads.
wishes = specs.filter(lambda spec: "directConnection" in spec and not spec.get("suspend"))
returns = st.fixed_dictionaries({"there": st.booleans(), "specs": st.tuples(wishes, specs).map(list), "then": pauses})

HISTORIES = Target("histories", histories, check, examples=40)
RETURNS = Target("returns", returns, check_return, examples=10)
