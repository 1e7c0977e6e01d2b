"""What judges the crowd notices what it is there for."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.chaos.crowd import drains, is_asked_for, operations
from tests.cluster.tenants import ALLOCATE, RELEASE
from tests.cluster.watching import Version

NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


def version(seconds: float, *, wanted: bool, **status: Any) -> Version:  # noqa: ANN401 - JSON
    resource = {"metadata": {"uid": "1"}, "spec": {"directConnection": wanted}, "status": status}
    return Version(NOON + timedelta(seconds=seconds), resource)


def operation(outcome: str, request_id: str | None = None, action: str = RELEASE) -> dict[str, Any]:
    named = {} if request_id is None else {"requestId": request_id}
    return {"id": "op-1", "action": action, "outcome": outcome, "startedAt": "2026-11-24T12:00:05Z", **named}


def call(request_id: str, seconds: float = 0, action: str = RELEASE) -> dict[str, Any]:
    return {"requestId": request_id, "action": action, "time": (NOON + timedelta(seconds=seconds)).isoformat()}


@pytest.mark.parametrize(
    ("shown", "effective", "found"),
    [
        (operation("Succeeded", "A"), [call("A")], 0),
        (operation("Succeeded"), [call("A")], 0),
        (operation("Failed"), [], 0),
        # A call that no status tells of, twice the same, and one that never was.
        (operation("Failed"), [call("A")], 1),
        (operation("Succeeded", "A"), [call("A"), call("B")], 1),
        (operation("Succeeded"), [], 1),
        # A RequestId of nobody's, and one of another call.
        (operation("Failed", "X"), [], 1),
        (operation("Succeeded", "B"), [call("A")], 1),
        (operation("Succeeded", action=ALLOCATE), [call("A")], 1),
    ],
)
def test_each_effective_call_is_one_operation_and_no_request_id_is_invented(
    shown: dict[str, Any], effective: list[dict[str, Any]], found: int
) -> None:
    versions = [version(0, wanted=False, operation=operation("Started")), version(1, wanted=False, operation=shown)]

    assert len(list(operations(versions, effective, {"A", "B"}))) == found


@pytest.mark.parametrize(("seconds", "is_fine"), [(-3, False), (1, True), (11, True), (14, False)])
def test_a_release_is_asked_for_while_a_manifest_says_so_and_a_moment_longer(seconds: float, *, is_fine: bool) -> None:
    versions = [version(-60, wanted=True), version(0, wanted=False), version(10, wanted=True)]

    assert is_asked_for(call("A", seconds), versions) is is_fine


@pytest.mark.parametrize(("since", "found"), [("2026-11-24T12:00:04Z", 0), ("2026-11-24T12:00:05Z", 1), (None, 1)])
def test_a_drain_that_was_cut_short_is_found(since: str | None, found: int) -> None:
    plan = {} if since is None else {"withdrawnAt": since}

    assert len(list(drains([version(0, wanted=False, operation=operation("Started"), plan=plan)]))) == found
