"""The users of a soak: they write manifests, change their minds, approve, delete, and read every status."""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import aiohttp

from benchmarks.fleet import NAMESPACE, Fleet, instance_of, region_of
from tests.cluster.tenants import FAST, condition, is_current, is_ready
from tests.kstatus import broken_rules, is_observed
from tests.soak import judge
from tests.soak.chance import Deck
from tests.soak.records import Meddling, Wishes
from tests.stage import Simulator

PATH: Final = f"/apis/tair.alibabacloud.com/v1alpha1/namespaces/{NAMESPACE}/tairinstances"
PREFIX: Final = "tair.alibabacloud.com"
AWAY_SECONDS: Final = 120.0
"""How long users try again when the API server does not answer."""
MERGE: Final = "application/merge-patch+json"
WEIGHTS: Final = {
    "flip": 58,
    "edit_guards": 14,
    "meddle": 9,
    "keep_busy": 4,
    "delete_and_create_again": 8,
    "replace_by_a_new_one": 3,
    "ask_for_a_look": 4,
}


class GoneError(Exception):
    """The watch is too old to go on."""


@dataclass
class Users(Fleet):
    """The resources, what users know of them, and what they have seen of every version."""

    simulator: Simulator = field(kw_only=True)
    chance: random.Random = field(kw_only=True)
    secrets: tuple[str, ...] = field(kw_only=True)
    specs: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What the manifests say that exist."""
    retired: dict[int, str] = field(default_factory=dict)
    """The deletionPolicy of those that were deleted for good."""
    wishes: Wishes = field(default_factory=Wishes)
    meddling: dict[str, list[Meddling]] = field(default_factory=lambda: defaultdict(list))
    done: Counter[str] = field(default_factory=Counter)
    current: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The newest version of each resource."""
    problems: list[str] = field(default_factory=list)
    intents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The ids of the operations that were shown, by instance."""
    shown: dict[str, str] = field(default_factory=dict)
    """Which resource showed a RequestId first."""
    versions: int = 0
    relists: int = 0
    _in_hand: set[int] = field(default_factory=set)
    _judged: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _approved: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.specs = {number: {"directConnection": True} for number in range(self.size)}
        self._next = self.size
        self._deck = Deck(self.chance, [name for name, weight in WEIGHTS.items() for _ in range(weight)])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; the resources go with their API server."""
        for task in [*self._tasks, self._watch]:
            task.cancel()
        await asyncio.gather(*self._tasks, self._watch, return_exceptions=True)
        await self._session.close()

    # --- what they do ---

    def do_something(self) -> None:
        """Begin something with a resource that nobody has in hand."""
        free = sorted(self.specs.keys() - self._in_hand)
        if free:
            number, name = self.chance.choice(free), self._deck.draw()
            self._in_hand.add(number)
            self.done[name] += 1
            self._begin(self._let_go_after(number, getattr(self, name)(number)))

    async def finish(self, seconds: float) -> None:
        """Wait for everything that was begun."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        if self._tasks:
            self.problems.append(f"{len(self._tasks)} things that users had begun were not over after {seconds:.0f} s")

    async def flip(self, number: int) -> None:
        """Ask for the opposite."""
        await self.want(number, directConnection=not self.specs[number]["directConnection"])

    async def edit_guards(self, number: int) -> None:
        """Change what guards a release, and what happens at a deletion and after a drift."""
        pick = self.chance.choice
        release = {"approval": pick(("Automatic", "Automatic", "Required")), "drainSeconds": pick((0, 0, 1, 3))}
        policies = {
            "deletionPolicy": pick(("Retain", "Release")),
            "driftPolicy": pick(("Correct", "AllocateOnly", "Report")),
        }
        await self.want(number, release=release, **policies)

    async def meddle(self, number: int) -> None:
        """Change the instance as somebody else does in the console."""
        instance = await asyncio.to_thread(self.simulator.instance, instance_of(number))
        await self.put_in_console(number, is_there=not instance["directConnection"])

    async def put_in_console(self, number: int, *, is_there: bool) -> None:
        """Set the endpoint of an instance in the console, and note when."""
        instance_id, began = instance_of(number), time.time()
        await asyncio.to_thread(self.simulator.put_instance, instance_id, directConnection=is_there)
        self.meddling[instance_id].append(Meddling(began, time.time(), is_there))

    async def keep_busy(self, number: int) -> None:
        """Let the instance be changed for another reason for a while."""
        seconds = self.chance.uniform(0.5, 5)
        change = {"status": "Changing", "statusSeconds": seconds}
        await asyncio.to_thread(self.simulator.put_instance, instance_of(number), **change)

    async def delete_and_create_again(self, number: int) -> None:
        """Delete a resource and create it again under its name, with another manifest."""
        await self._delete(number)
        await asyncio.sleep(self.chance.uniform(0, 2))
        await self._create(number)

    async def replace_by_a_new_one(self, number: int) -> None:
        """Delete a resource for good, and create one about an instance that is new."""
        self.retired[number] = await self._delete(number)
        new, self._next = self._next, self._next + 1
        fields = {"regionId": region_of(new, self.regions), "directConnection": self.chance.random() < 0.5}
        await asyncio.to_thread(self.simulator.put_instance, instance_of(new), timing=FAST, **fields)
        await self._create(new)

    async def ask_for_a_look(self, number: int) -> None:
        """Ask for a look now, as after something was put right."""
        await self._annotate(number, "reconcile-requested-at", f"{time.time():.3f}")

    async def want(self, number: int, **spec: Any) -> None:  # noqa: ANN401
        """Change fields of a manifest; what is known to be wanted follows."""
        instance_id, wanted = instance_of(number), spec.get("directConnection")
        self.specs[number] |= spec
        if wanted is False:
            self.wishes.ask(instance_id, time.time())
        await self._ask("PATCH", self._path(number), {"spec": spec}, content_type=MERGE)
        if wanted is True:
            self.wishes.take_back(instance_id, time.time())

    async def look_after_the_stalled(self) -> None:
        """Do what the conditions ask people to do: approve, put right what is reported only, ask for another try."""
        for number, body in list(self.current.items()):
            reason = condition(body, "Stalled").get("reason")
            if reason is None or not is_current(body):
                continue
            if reason == "ApprovalRequired":
                await self._approve(number, body)
                continue
            if reason in {"DriftDetected", "Contested"} and number in self.specs.keys() - self._in_hand:
                await self.put_in_console(number, is_there=self.specs[number]["directConnection"])
            await self.ask_for_a_look(number)

    async def _delete(self, number: int) -> str:
        instance_id, spec = instance_of(number), self.specs.pop(number)
        policy: str = spec.get("deletionPolicy", "Retain")
        if policy == "Release":
            self.wishes.ask(instance_id, time.time())
        await self._ask("DELETE", self._path(number))
        while await self._ask("GET", self._path(number)):  # noqa: ASYNC110 - as kubectl does
            await asyncio.sleep(0.5)
        self.wishes.take_back(instance_id, time.time())
        return policy

    async def _create(self, number: int) -> None:
        pick, wanted = self.chance.choice, self.chance.random() < 0.5
        spec = {
            "directConnection": wanted,
            "deletionPolicy": pick(("Retain", "Release")),
            "driftPolicy": pick(("Correct", "AllocateOnly", "Report")),
        }
        if not wanted:
            self.wishes.ask(instance_of(number), time.time())
        identity = {"instanceId": instance_of(number), "regionId": region_of(number, self.regions)}
        body = {
            "apiVersion": f"{PREFIX}/v1alpha1",
            "kind": "TairInstance",
            "metadata": {"name": self._path(number).rpartition("/")[2], "namespace": NAMESPACE},
            "spec": identity | spec,
        }
        await self._ask("POST", PATH, body)
        self.specs[number] = spec

    async def _approve(self, number: int, body: dict[str, Any]) -> None:
        await self._annotate(number, "approve-release", body["status"]["plan"]["id"])

    async def _approve_later(self, number: int, body: dict[str, Any], seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._approve(number, body)

    async def _annotate(self, number: int, name: str, value: str) -> None:
        body = {"metadata": {"annotations": {f"{PREFIX}/{name}": value}}}
        await self._ask("PATCH", self._path(number), body, content_type=MERGE)

    async def _let_go_after(self, number: int, work: Any) -> None:  # noqa: ANN401 - a coroutine of one of the above
        try:
            await work
        finally:
            self._in_hand.discard(number)

    def _begin(self, work: Any) -> None:  # noqa: ANN401 - as above
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.problems.append(f"a user met {error!r}")

    def _path(self, number: int) -> str:
        return f"{PATH}/cache-{number:05}"

    async def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Ask until there is an answer; what is gone, or there already, is an answer without anything in it."""
        deadline, headers = time.monotonic() + AWAY_SECONDS, {"Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        while True:
            try:
                async with self._session.request(method, path, data=data, params=query, headers=headers) as reply:
                    text = await reply.text()
            except (aiohttp.ClientError, OSError, TimeoutError):
                text, status = "", 0
            else:
                status = reply.status
            if 200 <= status < 300:
                return dict(json.loads(text))
            if status == 404 or (status == 409 and method == "POST"):
                return {}
            is_passing = status in {0, 409, 429} or status >= 500
            assert is_passing and time.monotonic() < deadline, f"{method} {path}: {status} {text}"  # noqa: PT018
            await asyncio.sleep(0.2)

    # --- what they see ---

    async def _follow(self, version: str) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        while True:
            query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
            try:
                async with self._session.get(PATH, params=query, timeout=timeout, read_bufsize=2**20) as stream:
                    if stream.status != 200:
                        raise ConnectionError(await stream.text())
                    async for line in stream.content:
                        event = json.loads(line)
                        self._note(event, time.time())
                        version = event["object"]["metadata"]["resourceVersion"]
            except (aiohttp.ClientError, OSError, TimeoutError, json.JSONDecodeError):
                await asyncio.sleep(0.2)
            except GoneError:
                self.relists += 1
                found = await self._ask("GET", PATH)
                version = found["metadata"]["resourceVersion"]
                self.current.clear()
                for item in found["items"]:
                    self._note({"type": "MODIFIED", "object": item}, time.time())

    def _note(self, event: dict[str, Any], seen_at: float) -> None:
        if event["type"] == "ERROR":
            raise GoneError(event["object"].get("message"))
        super()._note(event, seen_at)
        body = event["object"]
        number = int(body["metadata"]["name"].rpartition("-")[2])
        if event["type"] == "DELETED":
            self.current.pop(number, None)
            return
        self.versions += 1
        self.current[number] = body
        self._judge(body)
        plan = body.get("status", {}).get("plan") or {}
        is_asked = condition(body, "Stalled").get("reason") == "ApprovalRequired" and is_current(body)
        if is_asked and plan.get("id") not in self._approved:
            self._approved.add(plan["id"])
            if self.chance.random() < 0.8:
                self._begin(self._approve_later(number, body, self.chance.uniform(0, 3)))

    def _judge(self, body: dict[str, Any]) -> None:
        name, status = body["metadata"]["name"], body.get("status", {})
        if is_observed(body):
            self.problems += [f"{name} breaks {rule}: {status['conditions']}" for rule in broken_rules(body)]
        if judge.leaks(json.dumps(status), self.secrets):
            self.problems.append(f"{name} has a secret in its status")
        for request_id in judge.request_ids(status):
            self.shown.setdefault(request_id, name)
        operations = [each for each in (status.get("operation"), *status.get("history", [])) if each]
        self.intents[body["spec"]["instanceId"]] |= {each["id"] for each in operations}
        operation = status.get("operation") or {}
        if operation.get("outcome") == "Started" and operation["id"] not in self._judged:
            self._judged.add(operation["id"])
            if problem := judge.wrong_intent(body):
                self.problems.append(problem)

    def ready(self) -> int:
        """Return how many resources are Ready as they are now."""
        return sum(is_ready(body) for body in self.current.values() if body.get("status"))

    async def wrong_ends(self) -> list[str]:
        """Return in what the resources and the instances are not as the manifests say."""
        instances = {each["instanceId"]: each for each in await asyncio.to_thread(self.simulator.instances)}
        by_number = {number: instances[instance_of(number)] for number in self.specs.keys() | self.retired.keys()}
        return judge.wrong_ends(self.specs, self.retired, self.current, by_number)
