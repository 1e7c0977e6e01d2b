"""Which events lead to a pass: those that tell something new, and not our own writes."""

import asyncio
import getpass
from datetime import timedelta
from typing import Any

import kopf
import pytest

from tair_operator.handlers import HAND_OVER, Approvals, build_settings, enqueue, is_moved_in, needs_pass, watch
from tair_operator.models import ANNOTATION_APPROVE, ANNOTATION_RECONCILE, FINALIZER
from tair_operator.ports import Key
from tair_operator.queue import WorkQueue
from tair_operator.scope import Scope


def body(
    generation: int = 1,
    observed: int | None = 1,
    token: str | None = None,
    handled: str | None = None,
    policy: str = "Retain",
    **metadata: str | list[str],
) -> dict[str, Any]:
    annotations = {"annotations": {ANNOTATION_RECONCILE: token}} if token else {}
    status = {"observedGeneration": observed, "lastHandledReconcileAt": handled} if observed is not None else {}
    spec = {"deletionPolicy": policy}
    return {"metadata": {"generation": generation, **annotations, **metadata}, "spec": spec, "status": status}


async def test_starts_for_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the image the user is a number that no file knows."""

    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    async def connect() -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server="http://127.0.0.1:1")

    monkeypatch.delenv("POD_ID", raising=False)
    monkeypatch.setattr(getpass, "getuser", no_name)
    stop = asyncio.Event()
    stop.set()

    await watch(WorkQueue(jitter=lambda: 0.0), connect, asyncio.Event(), stop)


@pytest.mark.parametrize(
    ("sentence", "kind", "event", "answer"),
    [
        ("a resource that nobody has seen needs a pass", "ADDED", body(observed=None), True),
        ("a resource with the default of the CRD needs a pass", "ADDED", body(observed=-1), True),
        ("an edit needs a pass", "MODIFIED", body(2), True),
        ("our own status write needs none", "MODIFIED", body(), False),
        ("somebody's label needs none", "MODIFIED", body(labels="x"), False),
        ("a first sight of what is settled needs none", None, body(), False),
        ("a first sight of what was edited meanwhile needs one", None, body(2), True),
        ("a request by annotation needs a pass", "MODIFIED", body(token="1"), True),
        ("a new request by annotation needs a pass", "MODIFIED", body(token="2", handled="1"), True),
        ("a request that was handled needs none", "MODIFIED", body(token="1", handled="1"), False),
        ("a deletion needs a pass", "DELETED", body(), True),
        ("the beginning of a deletion needs a pass", "MODIFIED", body(deletionTimestamp="2026-03-02"), True),
        ("a finalizer that somebody took away needs a pass", "MODIFIED", body(policy="Release"), True),
        ("a finalizer in its place needs none", "MODIFIED", body(policy="Release", finalizers=[FINALIZER]), False),
        ("a finalizer that is out of place needs a pass", "MODIFIED", body(finalizers=[FINALIZER]), True),
        ("the finalizer of somebody else needs none", "MODIFIED", body(finalizers=["else"]), False),
        ("a body without anything needs none", "MODIFIED", {}, False),
    ],
)
def test_needs_pass(sentence: str, kind: str | None, event: dict[str, Any], answer: bool) -> None:  # noqa: FBT001
    assert needs_pass(kind, event) is answer, sentence


def approved(approval: str | None) -> dict[str, Any]:
    annotations = {ANNOTATION_APPROVE: approval} if approval else {}
    return {"metadata": {"uid": "uid-1", "annotations": annotations}}


def test_an_approval_that_comes_changes_or_goes_needs_a_pass() -> None:
    approvals = Approvals()
    events = [(None, None), (None, "a"), ("MODIFIED", "a"), ("MODIFIED", "b"), ("MODIFIED", None), ("MODIFIED", None)]

    assert [approvals.changed(kind, approved(value)) for kind, value in events] == [
        False,
        False,
        False,
        True,
        True,
        False,
    ]


def test_a_resource_that_is_gone_is_forgotten() -> None:
    approvals = Approvals()
    approvals.changed("ADDED", approved("a"))
    approvals.changed("DELETED", approved("a"))

    assert approvals.changed("ADDED", approved("a")) is True


def test_an_approval_of_the_plan_of_the_moment_is_news_at_first_sight() -> None:
    waiting = approved("a") | {"status": {"plan": {"id": "a"}}}

    assert Approvals().changed(None, waiting) is True
    assert Approvals().changed(None, approved("a") | {"status": {"plan": {"id": "b"}}}) is False


@pytest.mark.parametrize(
    ("sentence", "kind", "event", "answer"),
    [
        ("what nobody has seen is new", "ADDED", body(observed=None), False),
        ("the default of the CRD says that nobody has", "ADDED", body(observed=-1), False),
        ("what comes with a status was served elsewhere", "ADDED", body(observed=1), True),
        ("also with an edit that is not answered yet", "ADDED", body(2, observed=1), True),
        ("a first sight is no news", None, body(observed=1), False),
        ("an edit of what is here is no move", "MODIFIED", body(observed=1), False),
        ("what leaves does not come", "DELETED", body(observed=1), False),
    ],
)
def test_is_moved_in(sentence: str, kind: str | None, event: dict[str, Any], answer: bool) -> None:  # noqa: FBT001
    assert is_moved_in(kind, event) is answer, sentence


@pytest.mark.parametrize(
    ("sentence", "reconciling", "is_known", "wish"),
    [
        ("what another process left under way is taken up", "True", False, True),
        ("what this process is about is not asked for twice", "True", True, False),
        ("what another process has settled is left alone", None, False, False),
    ],
)
async def test_a_resource_that_is_under_way_is_in_somebodys_queue(
    monkeypatch: pytest.MonkeyPatch,
    sentence: str,
    reconciling: str | None,
    is_known: bool,  # noqa: FBT001
    wish: bool,  # noqa: FBT001
) -> None:
    queue, key, event = WorkQueue(jitter=lambda: 0.0), Key("shop", "it"), body(namespace="shop", name="it")
    asked: list[timedelta] = []
    monkeypatch.setattr(WorkQueue, "add_after", lambda _queue, _key, delay: asked.append(delay))
    if reconciling is not None:
        event["status"]["conditions"] = [{"type": "Reconciling", "status": reconciling}]
    if is_known:
        queue.add(key)
    enqueue(queue, Approvals(), "MODIFIED", event)

    assert asked == [HAND_OVER] * wish, sentence


def test_the_other_shard_has_time_for_a_pass_and_nobody_waits_for_long() -> None:
    assert timedelta(seconds=1) <= HAND_OVER <= timedelta(seconds=5)


def test_the_whole_cluster_is_scanned_for_our_resource_and_single_namespaces_are_not() -> None:
    settings = [build_settings(), build_settings(Scope(selector="shard=a")), build_settings(Scope(("team-a",)))]

    assert [each.scanning.disabled for each in settings] == [False, False, True]
    assert [list(each.watching.label_selectors.values()) for each in settings] == [[], ["shard=a"], []]
