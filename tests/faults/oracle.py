"""What must hold, whatever fails: at every moment, at every mutating call, and in the end.

``Judge`` looks at the two outside worlds only: what is stored, what was done to the
instances. It shares no code with the rules that it judges.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from tair_operator.models import ANNOTATION_APPROVE, Action
from tair_operator.ports import Key
from tair_operator.reconcile import FENCE_SECONDS, LOOK_MAX
from tair_operator.situation import Verb
from tests.faults.cloud import STALE_SECONDS, Exchange
from tests.faults.kubernetes import Body, path_of
from tests.faults.world import World
from tests.kstatus import broken_rules, is_observed

VERBS = {Action.ALLOCATE: Verb.ALLOCATE, Action.RELEASE: Verb.RELEASE}
UNSETTLED = {"Started", "Accepted", "Unknown"}
WINDOW_OPENS = 12, 2
"""Hour and minute, in the scenario ``window``."""
PLACES = (("secretName", "secrets"), ("configMapName", "configmaps"))


@dataclass
class Judge:
    """Watches a world and writes down what must not be."""

    world: World
    violations: list[str] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    """What Ready has said so far, and outcomes of operations: what users have seen."""
    _judged: set[str] = field(default_factory=set)
    _announced: dict[str, str] = field(default_factory=dict)
    """The uid of the resource that announced it, by the id of the operation."""
    _caller: str | None = None
    """The uid of the resource that the last call was made for."""
    _sent: set[str] = field(default_factory=set)
    """Ids of the intents that a call was made for."""
    _futile: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often a resource called since this many calls had an effect."""

    def __post_init__(self) -> None:
        self.world.seam.watchers.append(self.look)
        self.world.sends.append(self.at_send)

    def find(self, text: str) -> None:
        """Note a violation, once."""
        if text not in self.violations:
            self.violations.append(text)

    # --- at every moment ---

    def look(self) -> None:
        """Judge every status as it is stored now."""
        for body in self.world.kubernetes.resources():
            self._judge_words(body)
            self._judge_truth(body)

    def _judge_words(self, body: Body) -> None:
        version = body["metadata"]["resourceVersion"]
        if version in self._judged:
            return
        self._judged.add(version)
        status, name = body["status"], body["metadata"]["name"]
        self.reasons |= {c["reason"] for c in status.get("conditions", [])}
        self.reasons |= {(status.get("operation") or {}).get("outcome", "")}
        if is_observed(body):
            for rule in broken_rules(body):
                self.find(f"{name} breaks {rule}: {_words(body)}")
        operation = status.get("operation") or {}
        if operation:
            self._judge_intent(body, operation)
        if operation.get("outcome") in UNSETTLED and is_ready(body):
            self.find(f"{name} is Ready while its operation is {operation['outcome']}")
        for shown in _request_ids(status) - self.world.cloud.issued:
            self.find(f"{name} shows a RequestId that the cloud never gave: {shown}")

    def _judge_intent(self, body: Body, operation: Body) -> None:
        """An intent is stored on the very spec that asks for it, and its answer where it was announced."""
        uid, name, generation = (body["metadata"][field_name] for field_name in ("uid", "name", "generation"))
        if self._announced.setdefault(operation["id"], uid) != uid:
            self.find(f"{name} shows the call of another resource")
        if operation["outcome"] != "Started" or operation["id"] in self._judged:
            return
        self._judged.add(operation["id"])
        wanted = operation["action"] == Action.ALLOCATE
        if _wants(body) is not wanted or operation["generation"] != generation:
            self.find(f"{operation['action']} is announced on a manifest that does not ask for it")

    def _judge_truth(self, body: Body) -> None:
        """Whoever reads Ready=True about this very spec may rely on it."""
        wanted, name = body["spec"].get("directConnection"), body["metadata"]["name"]
        if wanted is None or not is_observed(body) or body["metadata"].get("deletionTimestamp"):
            return
        cloud, instance_id = self.world.cloud, body["spec"]["instanceId"]
        view = cloud.view(instance_id)
        ours = [entry.time for entry in cloud.ledger if entry.is_effective and entry.instance_id == instance_id]
        if cloud.others_at[instance_id] > max(ours, default=0.0):
            # Somebody else changed it, which nobody can know before the next look.
            return
        is_other = self._caller not in {None, body["metadata"]["uid"]}
        state = (body["status"].get("directConnection") or {}).get("state")
        # What was called for another resource is seen at the next look.
        if state == "Released" and view and view.endpoint and not is_other:
            self.find(f"{name} says that there is no endpoint, and there is one")
        if not is_ready(body):
            return
        if view is None or (view.endpoint is not None) is not wanted:
            self.find(f"{name} is Ready with directConnection {wanted}, and the cloud has {view and view.endpoint}")
        elif view.change is not None:
            self.find(f"{name} is Ready while our own change is under way")

    # --- at every mutating call ---

    def at_send(self, action: Action, instance_id: str) -> None:
        """Judge a mutating call in the moment in which it leaves."""
        claims = [body for body in self.world.kubernetes.resources() if body["spec"]["instanceId"] == instance_id]
        announced = [body for body in claims if self._announces(body, action)]
        pending = [late for late in self.world.seam.late if isinstance(late, Exchange) and late.action in set(Action)]
        if self.world.seam.alive not in self.world.seam.listed:
            self.find(f"{action} is called before the first complete LIST")
        if not self.world.may_call():
            self.find(f"{action} is called by a replica that does not lead")
        if self.world.policy.is_observing_only:
            self.find(f"{action} is called in mode Observe")
        if VERBS[action] not in self.world.grant.verbs:
            self.find(f"{action} is called although the access list does not allow it")
        if pending:
            self.find(f"{action} is called while {pending[0].action} may still take effect")
        if not announced:
            if not self._was_just_deleted(action, instance_id):
                self.find(f"{action} is called without an intent that is stored")
            return
        body = announced[0]
        self._caller = body["metadata"]["uid"]
        self._sent.add(body["status"]["operation"]["id"])
        for judge in (self._misplaced, self._unwanted, self._claimed, self._repeated, self._unguarded):
            for text in judge(body, action):
                self.find(f"{action} is called {text}")

    def _announces(self, body: Body, action: Action) -> bool:
        operation = body["status"].get("operation") or {}
        is_new = operation.get("id") not in self._sent
        return operation.get("outcome") == "Started" and operation["action"] == action and is_new

    def _was_just_deleted(self, action: Action, instance_id: str) -> bool:
        """Whether somebody deleted the resource in the small window between its intent and this call."""
        return any(
            after is None
            and before is not None
            and _now() - time <= FENCE_SECONDS
            and before["spec"]["instanceId"] == instance_id
            and self._announces(before, action)
            for versions in self.world.kubernetes.history.values()
            for (_, before), (time, after) in pairwise(versions)
        )

    def _unwanted(self, body: Body, action: Action) -> Iterator[str]:
        wanted = action is Action.ALLOCATE
        if not any(_wants(version) is wanted for version in self._versions_within(body, FENCE_SECONDS)):
            yield f"although {body['metadata']['name']} does not want that"

    def _versions_within(self, body: Body, seconds: float) -> Iterator[Body]:
        """Return what was stored at any time of the last so many seconds."""
        versions = self.world.kubernetes.history[_path(body)]
        for number, (_, version) in enumerate(versions):
            ends = versions[number + 1][0] if number + 1 < len(versions) else float("inf")
            if version is not None and ends >= _now() - seconds:
                yield version

    def _misplaced(self, body: Body, _: Action) -> Iterator[str]:
        cloud, instance_id = self.world.cloud, body["spec"]["instanceId"]
        if not cloud.is_in(body["spec"]["regionId"], instance_id):
            yield "for an instance in another region"
        age = _now() - cloud.looked_at[instance_id]
        if age > LOOK_MAX.total_seconds() + FENCE_SECONDS:
            yield f"on a look that is {age:.0f} s old"
        if body["spec"].get("suspend"):
            yield f"although {body['metadata']['name']} is suspended"

    def _claimed(self, body: Body, _action: Action) -> Iterator[str]:
        is_leaving, name = bool(body["metadata"].get("deletionTimestamp")), body["metadata"]["name"]
        for other in self.world.kubernetes.resources():
            if other is body or not _is_rival(other, body):
                continue
            if is_leaving or _rank(other) < _rank(body):
                yield f"for {name} although {other['metadata']['name']} claims the instance as well"
        for path, versions in self.world.kubernetes.history.items():
            for (_, before), (since, after) in pairwise(versions):
                # A process that started later never saw the other one.
                is_recent = since > max(_now() - self.world.policy.settle.total_seconds(), self.world.started_at)
                was_owner = before is not None and _is_rival(before, body) and _rank(before) < _rank(body)
                if is_recent and was_owner and (after is None or not _is_rival(after, body)):
                    yield f"{_now() - since:.0f} s after {path} managed the instance"

    def _repeated(self, body: Body, action: Action) -> Iterator[str]:
        """After three releases without an effect a person has to look."""
        uid, effects = body["metadata"]["uid"], len(self.effects())
        self._futile[uid, effects] += 1
        if action is Action.RELEASE and self._futile[uid, effects] > 3:
            yield f"for the {self._futile[uid, effects]}th time, without an effect"

    def _unguarded(self, body: Body, action: Action) -> Iterator[str]:
        if action is Action.ALLOCATE:
            yield from self._needless(body["spec"]["instanceId"])
            return
        release, cloud = body["spec"].get("release") or {}, self.world.cloud
        if self.world.grant.are_releases_held:
            yield "although releases are held"
        policy, started = self.world.policy, [e.time for e in cloud.ledger if e.is_effective and e.action is action]
        # Status tells times to the second, and a call leaves within one of its intent.
        window = policy.release_budget_window.total_seconds() - FENCE_SECONDS - 1
        recent = [time for time in started if _now() - time < window]
        if policy.release_budget and len(recent) >= policy.release_budget:
            yield f"although the budget holds {policy.release_budget} and {len(recent)} were made"
        has_allocated = any(entry.is_effective and entry.action is Action.ALLOCATE for entry in cloud.ledger)
        is_leaving = bool(body["metadata"].get("deletionTimestamp"))
        clock = self.world.clock.now()
        is_asked_for = (
            policy.needs_approval
            or (policy.needs_approval_at_first_contact and not body["status"].get("reached"))
            or self.world.grant.requires_approval
            or release.get("approval") == "Required"
            or (is_leaving and not has_allocated)
        )
        if is_asked_for:
            plans = [version["status"].get("plan") for version in self._versions_within(body, float("inf"))]
            [shown] = [plan for plan in plans if plan is not None][-1:] or [{"id": "none", "expiresAt": ""}]
            if body["metadata"].get("annotations", {}).get(ANNOTATION_APPROVE) != shown["id"]:
                yield "without the approval that it needs"
            elif clock > datetime.fromisoformat(shown["expiresAt"]):
                yield f"on a plan that lapsed at {shown['expiresAt']}"
        if release.get("window") == "Maintenance" and (clock.hour, clock.minute) < WINDOW_OPENS:
            yield "outside of the maintenance window"
        for field_name, kind in PLACES:
            object_name = (body["spec"].get("publish") or {}).get(field_name)
            if object_name is not None:
                path = f"/api/v1/namespaces/{body['metadata']['namespace']}/{kind}/{object_name}"
                yield from self._undrained(path, release.get("drainSeconds", 0))

    def _needless(self, instance_id: str) -> Iterator[str]:
        cloud = self.world.cloud
        ours = [entry.time for entry in cloud.ledger if entry.is_effective]
        view, since = cloud.view(instance_id), max([*ours, cloud.others_at[instance_id]])
        if view and view.endpoint and not view.change and _now() - since > STALE_SECONDS:
            yield "although the endpoint is there"

    def _undrained(self, path: str, drain: float) -> Iterator[str]:
        kubernetes = self.world.kubernetes
        if path in kubernetes.objects:
            yield f"while {path} still publishes the endpoint"
        gone_at = [write.time for write in kubernetes.writes if write.path == path and "DELETE" in write.name]
        if gone_at and _now() - gone_at[-1] < drain:
            yield f"{_now() - gone_at[-1]:.1f} s after {path} was withdrawn"

    # --- in the end ---

    def essence(self) -> dict[str, Any]:
        """Return the state of both worlds, without times and numbers that a fault may change."""
        kubernetes, cloud = self.world.kubernetes, self.world.cloud
        resources = {body["metadata"]["name"]: _essence(body) for body in kubernetes.resources()}
        published = {path: body["data"] for path, body in kubernetes.objects.items() if "/tairinstances/" not in path}
        views = {name: cloud.view(name) for name in cloud.others_at}
        hosts = {name: view and view.endpoint and view.endpoint.host for name, view in views.items()}
        return {"resources": resources, "published": published, "endpoints": hosts}

    def effects(self) -> list[str]:
        """Return what was done to the instance, in order."""
        return [str(entry.action) for entry in self.world.cloud.ledger if entry.is_effective]


def is_ready(body: Body) -> bool:
    """Whether Ready is True."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in body["status"].get("conditions", []))


def _essence(body: Body) -> dict[str, Any]:
    status = body["status"]
    conditions = [(c["type"], c["status"], c["reason"], c["message"]) for c in status.get("conditions", [])]
    connection = status.get("directConnection") or {}
    return {
        "conditions": conditions,
        "connection": (connection.get("state"), connection.get("host"), connection.get("port")),
        "reached": (status.get("reached") or {}).get("directConnection"),
        "unsettled": (status.get("operation") or {}).get("outcome") in UNSETTLED,
        "plan": (status.get("plan") or {}).get("action"),
        "published": status.get("published"),
        "binding": status.get("binding"),
        "drift": (status.get("drift") or {}).get("directConnection"),
        "taking over": status.get("takingOver"),
        "error": (status.get("error") or {}).get("code"),
        "finalizers": body["metadata"].get("finalizers") or [],
        "is observed": is_observed(body),
    }


def _wants(body: Body) -> bool | None:
    if body["metadata"].get("deletionTimestamp"):
        return False if body["spec"].get("deletionPolicy") == "Release" else None
    wanted: bool | None = body["spec"].get("directConnection")
    return wanted


def _request_ids(status: Body) -> set[str]:
    """Return every RequestId that a status shows."""
    operations = [status.get("operation") or {}, status.get("error") or {}, *(status.get("history") or [])]
    shown = {status.get("requestId"), *(operation.get("requestId") for operation in operations)}
    return {request_id for request_id in shown if request_id is not None}


def _is_rival(other: Body, body: Body) -> bool:
    """Whether another resource claims the same instance and stays."""
    return (
        other["spec"]["instanceId"] == body["spec"]["instanceId"]
        and other["metadata"]["uid"] != body["metadata"]["uid"]
        and not other["metadata"].get("deletionTimestamp")
    )


def _rank(body: Body) -> tuple[str, str]:
    """The oldest of those that claim an instance owns it."""
    return body["metadata"]["creationTimestamp"], body["metadata"]["uid"]


def _words(body: Body) -> str:
    return ", ".join(f"{c['type']}={c['status']}/{c['reason']}" for c in body["status"].get("conditions", []))


def _path(body: Body) -> str:
    return path_of(Key(body["metadata"]["namespace"], body["metadata"]["name"]))


def _now() -> float:
    return asyncio.get_running_loop().time()
