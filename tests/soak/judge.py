"""What must hold after a soak: pure functions from what was recorded to violations in words."""

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.cluster.tenants import ALLOCATE, RELEASE, condition, is_ready
from tests.kstatus import Verdict, broken_rules, verdict
from tests.soak.records import Call, Meddling, Wishes

ANNOTATION_RECONCILE: Final = "tair.alibabacloud.com/reconcile-requested-at"
CALL_SECONDS: Final = 2.0
"""How long after its manifest has changed a release may still arrive: the operator sends a call within one second of
its intent, or not at all, and a busy machine takes a while to note when something arrived."""


# --- flatness -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """How much something may grow between the second and the last quarter of the life of one process."""

    name: str
    unit: str
    part: float
    """Of what it was, and ``least`` on top."""
    least: float

    def limit(self, before: float) -> float:
        """Return what must not be exceeded at the end."""
        return before * (1 + self.part) + self.least


BOUNDS: Final = {
    "rss_mb": Bound("RSS", "MB", 0.03, 1.0),
    "files": Bound("open files", "", 0.0, 5.0),
    "threads": Bound("threads", "", 0.0, 1.0),
    "tasks": Bound("asyncio tasks", "", 0.1, 8.0),
}


@dataclass(frozen=True)
class Growth:
    """Medians of the second and the last quarter of one process: the first is the warm-up, and a peak is no leak."""

    bound: Bound
    before: float
    after: float

    @property
    def is_flat(self) -> bool:
        """Whether it stays within the bound."""
        return self.after <= self.bound.limit(self.before)


LEAST_SAMPLES: Final = 12


def growth(values: Sequence[float], bound: Bound) -> Growth:
    """Return how much a series has grown; raise ``ValueError`` when it is too short to tell."""
    if len(values) < LEAST_SAMPLES:
        raise ValueError(f"{len(values)} samples of {bound.name} tell nothing about growth")
    quarter = len(values) // 4
    return Growth(bound, statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:]))


def not_flat(part: str, values: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield what has grown beyond its bound in a part of the run in which one process lived."""
    for name, bound in BOUNDS.items():
        try:
            found = growth(values[name], bound)
        except ValueError as error:
            yield f"{part}: {error}"
            continue
        if not found.is_flat:
            yield (
                f"{part}: {bound.name} grew from {found.before:.1f} to {found.after:.1f} {bound.unit}".rstrip()
                + f", more than {bound.limit(found.before):.1f}"
            )


# --- what was done to the instances -------------------------------------------------------------------------------


def unasked_releases(calls: Mapping[str, Sequence[Call]], wishes: Wishes) -> Iterator[str]:
    """Yield the effective releases that no manifest asked for at that time."""
    for instance_id, known in calls.items():
        for call in known:
            spans = wishes.spans.get(instance_id, [])
            is_asked = any(span.since <= call.at <= span.until + CALL_SECONDS for span in spans)
            if call.action == RELEASE and call.is_effective and not is_asked:
                told = ", ".join(f"{span.since:.2f} to {span.until:.2f}" for span in spans) or "never"
                yield f"{instance_id} was released at {call.at:.2f} ({call.request_id}), asked for {told}"


def repeated_releases(calls: Mapping[str, Sequence[Call]], meddling: Mapping[str, Sequence[Meddling]]) -> Iterator[str]:
    """Yield the effective releases since whose predecessor nobody has allocated the endpoint again."""
    for instance_id, known in calls.items():
        released: Call | None = None
        for call in known:
            if not call.is_effective:
                continue
            if call.action == ALLOCATE:
                released = None
                continue
            others = [each for each in meddling.get(instance_id, []) if each.is_there]
            if released and not any(each.until >= released.at and each.since <= call.at for each in others):
                yield f"{instance_id} was released at {released.at:.2f} and again at {call.at:.2f}"
            released = call


def unannounced_calls(calls: Mapping[str, Sequence[Call]], intents: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield the instances that met more mutating calls than were announced in a status."""
    for instance_id, known in calls.items():
        announced = len(intents.get(instance_id, ()))
        if len(known) > announced:
            yield f"{instance_id} met {len(known)} calls, and {announced} were announced"


# --- what is said -------------------------------------------------------------------------------------------------


def request_ids(status: Mapping[str, Any]) -> set[str]:
    """Return every RequestId in a status."""
    places = [status, status.get("operation"), status.get("error"), *status.get("history", [])]
    return {place["requestId"] for place in places if place and place.get("requestId")}


def invented(shown: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    """Yield the RequestIds, with the resources that showed them, that the cloud has never given."""
    for request_id, name in shown.items():
        if request_id not in known:
            yield f"{name} showed RequestId {request_id}, which the cloud never gave"


def wants(resource: Mapping[str, Any]) -> bool | None:
    """Return what a manifest asks for: True an endpoint, False none, None nothing."""
    spec = resource["spec"]
    if resource["metadata"].get("deletionTimestamp"):
        return False if spec.get("deletionPolicy") == "Release" else None
    wanted: bool | None = spec.get("directConnection")
    return wanted


def wrong_intent(resource: Mapping[str, Any]) -> str | None:
    """Say what is wrong about a version in which an intent is stored: its own manifest has to ask for the call."""
    operation, metadata = resource["status"]["operation"], resource["metadata"]
    is_wanted = wants(resource) is (operation["action"] == ALLOCATE)
    if is_wanted and operation["generation"] == metadata["generation"]:
        return None
    return f"{metadata['name']} announced {operation['action']} on a manifest that wants {wants(resource)}"


def leaks(text: str, secrets: Collection[str]) -> int:
    """Return how often a secret is in a text."""
    return sum(text.count(secret) for secret in secrets)


# --- the end ------------------------------------------------------------------------------------------------------


def wrong_end(resource: dict[str, Any], instance: Mapping[str, Any]) -> list[str]:
    """Return in what a resource and its instance are not as the manifest says."""
    name, wanted = resource["metadata"]["name"], resource["spec"].get("directConnection")
    problems = [f"{name} breaks {rule}" for rule in broken_rules(resource)]
    if not is_ready(resource) or verdict(resource) is not Verdict.CURRENT:
        problems.append(f"{name} is not Ready: {condition(resource, 'Ready')}")
    asked = resource["metadata"].get("annotations", {}).get(ANNOTATION_RECONCILE)
    if asked != resource["status"].get("lastHandledReconcileAt"):
        problems.append(f"{name} was asked for a look at {asked}, which was not handled")
    if instance["busy"] or (wanted is not None and instance["directConnection"] is not wanted):
        problems.append(f"{name} wants {wanted}, and the cloud has {instance['directConnection']}")
    return problems


def wrong_ends(
    specs: Mapping[int, Mapping[str, Any]],
    retired: Mapping[int, str],
    current: Mapping[int, dict[str, Any]],
    instances: Mapping[int, Mapping[str, Any]],
) -> list[str]:
    """Return in what everything is not as the manifests say: those of users, and the policies of what they deleted."""
    problems = [f"resource {number} is still there" for number in current.keys() - specs.keys()]
    problems += [f"resource {number} is not there" for number in specs.keys() - current.keys()]
    for number in specs.keys() & current.keys():
        stored = current[number]["spec"]
        if any(stored.get(name) != value for name, value in specs[number].items()):
            problems.append(f"resource {number} has another manifest than its users wrote")
        problems += wrong_end(current[number], instances[number])
    problems += [
        f"resource {number} was deleted with policy Release, and the endpoint is there"
        for number, policy in retired.items()
        if policy == "Release" and instances[number]["directConnection"]
    ]
    return problems


@dataclass(frozen=True)
class Written:
    """What had been written and called at some moment."""

    versions: int
    """That users saw."""
    api_writes: int
    mutating_calls: int


def not_at_rest(before: Written, after: Written) -> list[str]:
    """Return what happened between two moments in which nobody wanted anything."""
    seen, written = after.versions - before.versions, after.api_writes - before.api_writes
    called = after.mutating_calls - before.mutating_calls
    if not seen and not written and not called:
        return []
    return [f"at rest: {seen} new versions, {written} API writes, {called} mutating calls"]


UNFORESEEN: Final = ("Traceback (most recent call last)", "was never retrieved", "was never awaited", "Unclosed ")
"""What a log says of exceptions that nobody foresaw, and of what nobody waited for or closed."""


def wrong_lines(log: Iterable[str], secrets: Collection[str]) -> Iterator[str]:
    """Yield the lines of a log, cut short, that tell of what nobody foresaw, and where a secret stands."""
    for number, line in enumerate(log, start=1):
        if any(words in line for words in UNFORESEEN):
            yield line.rstrip()[:1000]
        if leaks(line, secrets):
            yield f"a secret is in line {number}"
