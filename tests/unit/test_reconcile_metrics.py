"""Whole passes: each change, each unknown outcome and each drift counts once, whoever dies when."""

import pytest

from tair_operator.ports import ClusterUnavailableError
from tests.builders import ID, KEY, resource
from tests.fakes import CrashError, Scripted, absent, crash, fail, present, rejection, silence, world
from tests.meters import Meter

RELEASE, ALLOCATE = "ReleaseDirectConnection", "AllocateDirectConnection"


class Meters:
    """All that is counted of calls."""

    def __init__(self) -> None:
        self.changes = Meter("tair_operator_direct_connection_changes_total")
        self.unknown = Meter("tair_operator_unknown_outcomes_total")
        self.drifts = Meter("tair_operator_drift_detected_total")
        self.lengths = Meter("tair_operator_direct_connection_change_duration_seconds_sum")

    def gained(self) -> tuple[dict[tuple[str, ...], float], ...]:
        return self.changes.gained(), self.unknown.gained(), self.drifts.gained()


@pytest.fixture
def meters() -> Meters:
    return Meters()


async def test_there_and_back_again_is_one_change_each_way(meters: Meters) -> None:
    w = world(present(), resource(False))
    await w.run(60)
    w.cluster.edit(KEY, direct_connection=True)
    await w.run(60)

    assert meters.gained() == ({(RELEASE, "Succeeded"): 1, (ALLOCATE, "Succeeded"): 1}, {}, {})
    assert {action: 7 <= took < 10 for (action,), took in meters.lengths.gained().items()} == {
        RELEASE: True,
        ALLOCATE: True,
    }


async def test_a_restart_counts_nothing_again(meters: Meters) -> None:
    w = world(present(), resource(False))
    await w.run(60)
    for _ in range(3):
        w.restart()
        await w.operator.learn(w.cluster.list_all())
        await w.run(60)

    assert meters.gained() == ({(RELEASE, "Succeeded"): 1}, {}, {})


async def test_a_refusal_counts_each_time_that_the_cloud_refuses(meters: Meters) -> None:
    w = world(present(), resource(False))
    w.cloud.script.extend([Scripted(rejection("Throttling.User"))] * 2)
    await w.run(120)

    assert meters.gained() == ({(RELEASE, "Rejected"): 2, (RELEASE, "Succeeded"): 1}, {}, {})


async def test_a_call_without_an_answer_is_one_unknown_outcome_and_one_end(meters: Meters) -> None:
    w = world(present(), resource(False))
    w.cloud.script.append(Scripted(silence(), effective=True))
    await w.run(60)

    assert w.ready() == ("True", "Released")
    assert meters.gained() == ({(RELEASE, "Succeeded"): 1}, {(RELEASE,): 1}, {})


async def test_a_call_without_an_effect_fails_and_the_next_one_succeeds(meters: Meters) -> None:
    w = world(present(), resource(False))
    w.cloud.script.append(Scripted(silence()))
    await w.run(400)

    assert meters.gained() == ({(RELEASE, "Failed"): 1, (RELEASE, "Succeeded"): 1}, {(RELEASE,): 1}, {})


@pytest.mark.parametrize(
    ("part", "point", "expected"),
    [
        # Whoever finds an intent without an answer cannot know what became of the call.
        ("cluster", "status_written", ({(RELEASE, "Failed"): 1, (RELEASE, "Succeeded"): 1}, {(RELEASE,): 1}, {})),
        ("cloud", "sent", ({(RELEASE, "Succeeded"): 1}, {(RELEASE,): 1}, {})),
        ("cluster", "write_answer", ({(RELEASE, "Succeeded"): 1}, {(RELEASE,): 1}, {})),
        ("cluster", "answer_written", ({(RELEASE, "Succeeded"): 1}, {}, {})),
    ],
)
async def test_over_a_crash_each_change_counts_once(meters: Meters, part: str, point: str, expected: object) -> None:
    w = world(present(), resource(False))
    getattr(w, part).at[point] = crash
    with pytest.raises(CrashError):
        await w.run(60)
    w.restart()
    await w.operator.learn(w.cluster.list_all())
    await w.run(400)

    assert w.ready() == ("True", "Released")
    assert meters.gained() == expected


async def test_an_end_whose_write_was_stored_without_an_answer_counts_once(meters: Meters) -> None:
    w = world(present(), resource(False))
    await w.run(1.5)
    w.clock.advance(10)
    w.cluster.at["status_written"] = fail(ClusterUnavailableError("no answer"))
    await w.run(60)

    assert w.ready() == ("True", "Released")
    assert meters.gained() == ({(RELEASE, "Succeeded"): 1}, {}, {})


async def test_an_intent_that_was_not_confirmed_is_not_sent(meters: Meters) -> None:
    w = world(present(), resource(False))
    w.cluster.at["status_written"] = fail(ClusterUnavailableError("no answer"))
    await w.run(60)

    assert meters.gained() == ({(RELEASE, "NotSent"): 1, (RELEASE, "Succeeded"): 1}, {}, {})


async def test_a_call_for_a_resource_that_was_deleted_meanwhile_counts(meters: Meters) -> None:
    w = world(present(), resource(False))
    w.cloud.script.append(Scripted(silence()))
    w.cloud.at["sent"] = lambda: w.cluster.delete(KEY)
    await w.one_pass()

    assert meters.gained() == ({}, {(RELEASE,): 1}, {})


async def test_a_difference_that_somebody_else_made_counts_once(meters: Meters) -> None:
    w = world(absent(), resource(False, drift_policy="Report"))
    await w.run(10)
    w.cloud.instances[ID] = present()
    w.cluster.touch(KEY, annotations={"tair.alibabacloud.com/reconcile-requested-at": "now"})
    await w.one_pass()
    drifted = w.operator.fleet.drifted()
    w.restart()
    await w.operator.learn(w.cluster.list_all())
    await w.one_pass()

    assert w.ready() == ("False", "DriftDetected")
    assert (drifted, w.operator.fleet.drifted()) == (1, 1)
    assert meters.gained() == ({}, {}, {(): 1})


async def test_a_difference_that_is_corrected_at_once_counts_once(meters: Meters) -> None:
    w = world(present(), resource(True))
    await w.run(1)
    w.cloud.instances[ID] = absent()
    w.cluster.touch(KEY, annotations={"tair.alibabacloud.com/reconcile-requested-at": "now"})
    await w.run(60)

    assert w.ready() == ("True", "Allocated")
    assert meters.gained() == ({(ALLOCATE, "Succeeded"): 1}, {}, {(): 1})
    assert w.operator.fleet.drifted() == 0


async def test_the_fleet_shows_what_is_stored(meters: Meters) -> None:
    w = world(present(), resource(False))
    await w.one_pass()
    await w.one_pass()
    during = w.operator.fleet.groups()
    await w.run(60)
    w.cluster.delete(KEY)
    at_rest = w.operator.fleet.groups()
    await w.one_pass()

    assert during == {("Releasing", "False", "Releasing"): 1}
    assert at_rest == {("Released", "True", "Released"): 1}
    assert w.operator.fleet.groups() == {}
