"""The judge of the soak notices: each rule is broken once, and kept once."""

import random
from typing import Any

import pytest

from benchmarks.plots import Series, line_chart
from tair_simulator.fault_kinds import KINDS, parse_fault
from tests.cluster.tenants import ALLOCATE, RELEASE
from tests.soak import judge
from tests.soak.chance import FIELDS, Deck, Trouble
from tests.soak.records import Call, Calls, Meddling, Wishes

IT = "r-1"
FLAT = [100.0 + number % 3 for number in range(80)]


def call(action: str, at: float, *, is_effective: bool = True) -> Call:
    return Call(at, action, IT, f"id-{at}", is_effective)


def series(**changed: list[float]) -> dict[str, list[float]]:
    return dict.fromkeys(judge.BOUNDS, FLAT) | changed


# --- flatness -----------------------------------------------------------------------------------------------------


def test_what_stays_is_flat() -> None:
    assert list(judge.not_flat("first third", series())) == []


@pytest.mark.parametrize("name", list(judge.BOUNDS))
def test_what_grows_is_told_with_numbers(name: str) -> None:
    growing = [100.0 + number for number in range(80)]

    [words] = judge.not_flat("last third", series(**{name: growing}))

    assert f"last third: {judge.BOUNDS[name].name} grew from 129.5 to 169.5" in words


@pytest.mark.parametrize("name", list(judge.BOUNDS))
def test_a_warm_up_and_a_peak_are_no_growth(name: str) -> None:
    warming = [10.0 + 4 * number for number in range(20)] + FLAT[:30] + [900.0] * 5 + FLAT[:25]

    assert list(judge.not_flat("first third", series(**{name: warming}))) == []


def test_a_slow_leak_beneath_noise_is_growth() -> None:
    chance = random.Random(1)  # noqa: S311 - the same each time
    noisy = [90 + 0.2 * number + chance.uniform(-5, 5) for number in range(80)]

    [words] = judge.not_flat("first third", series(rss_mb=noisy))

    assert "RSS grew" in words


def test_too_few_samples_are_no_proof() -> None:
    [words] = judge.not_flat("first third", series(files=[1.0] * (judge.LEAST_SAMPLES - 1)))

    assert words == "first third: 11 samples of open files tell nothing about growth"


# --- what was done ------------------------------------------------------------------------------------------------


def wishes(*spans: tuple[float, float]) -> Wishes:
    found = Wishes()
    for since, until in spans:
        found.ask(IT, since)
        found.take_back(IT, until)
    return found


def test_a_release_while_the_manifest_asks_for_it_is_right() -> None:
    assert list(judge.unasked_releases({IT: [call(RELEASE, 15)]}, wishes((10, 20)))) == []


@pytest.mark.parametrize("at", [9.9, 20 + judge.CALL_SECONDS + 0.1, 25.0])
def test_a_release_at_any_other_time_is_told(at: float) -> None:
    [words] = judge.unasked_releases({IT: [call(RELEASE, at)]}, wishes((10, 20), (30, 40)))

    assert words.startswith(f"r-1 was released at {at:.2f}")


def test_a_release_that_nobody_ever_asked_for_is_told() -> None:
    [words] = judge.unasked_releases({IT: [call(RELEASE, 15)]}, Wishes())

    assert words.endswith("asked for never")


def test_a_call_without_effect_and_an_allocation_are_no_releases() -> None:
    calls = [call(RELEASE, 15, is_effective=False), call(ALLOCATE, 16)]

    assert list(judge.unasked_releases({IT: calls}, Wishes())) == []


def test_asking_twice_is_one_wish_and_taking_back_twice_is_no_other() -> None:
    found = Wishes()
    for moment in (1, 2):
        found.ask(IT, moment)
    for moment in (3, 4):
        found.take_back(IT, moment)

    assert [(span.since, span.until) for span in found.spans[IT]] == [(1, 3)]


def test_two_releases_of_one_endpoint_are_told() -> None:
    [words] = judge.repeated_releases({IT: [call(RELEASE, 10), call(RELEASE, 20)]}, {})

    assert words == "r-1 was released at 10.00 and again at 20.00"


@pytest.mark.parametrize("is_there", [True, False])
def test_an_endpoint_that_somebody_has_allocated_may_be_released_again(is_there: bool) -> None:  # noqa: FBT001
    calls = {IT: [call(RELEASE, 10), call(RELEASE, 20)]}
    meddling = {IT: [Meddling(14, 15, is_there)]}

    assert bool(list(judge.repeated_releases(calls, meddling))) is not is_there


def test_an_allocation_between_two_releases_is_right_only_if_it_had_an_effect() -> None:
    for is_effective in (True, False):
        calls = [call(RELEASE, 10), call(ALLOCATE, 15, is_effective=is_effective), call(RELEASE, 20)]

        assert bool(list(judge.repeated_releases({IT: calls}, {}))) is not is_effective


def test_a_call_that_was_not_announced_is_told() -> None:
    calls = {IT: [call(RELEASE, 10), call(ALLOCATE, 20)]}

    assert list(judge.unannounced_calls(calls, {IT: {"a", "b"}})) == []
    assert list(judge.unannounced_calls(calls, {IT: {"a"}})) == ["r-1 met 2 calls, and 1 were announced"]
    assert list(judge.unannounced_calls(calls, {})) == ["r-1 met 2 calls, and 0 were announced"]


# --- what is said -------------------------------------------------------------------------------------------------


def test_every_request_id_of_a_status_is_found_and_an_invented_one_told() -> None:
    places: dict[str, Any] = {"operation": {"requestId": "two"}, "error": {"requestId": "three"}}
    status = places | {"requestId": "one", "history": [{"requestId": "four"}, {"outcome": "NotSent"}]}
    shown = dict.fromkeys(judge.request_ids(status), "it")

    assert shown.keys() == {"one", "two", "three", "four"}
    assert list(judge.invented(shown, {"one", "two", "three", "four"})) == []
    assert list(judge.invented(shown, {"one", "two", "three"})) == [
        "it showed RequestId four, which the cloud never gave"
    ]


def resource(operation: dict[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    return {
        "metadata": {"name": "it", "generation": 2},
        "spec": {"directConnection": True} | spec,
        "status": {
            "observedGeneration": 2,
            "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}],
            "operation": {"action": RELEASE, "generation": 2} | (operation or {}),
        },
    }


def test_an_intent_needs_a_manifest_that_asks_for_it() -> None:
    assert judge.wrong_intent(resource(directConnection=False)) is None
    assert judge.wrong_intent(resource({"action": ALLOCATE})) is None
    assert judge.wrong_intent(resource()) == f"it announced {RELEASE} on a manifest that wants True"
    assert judge.wrong_intent(resource({"action": ALLOCATE}, directConnection=None)) is not None
    assert judge.wrong_intent(resource({"generation": 1}, directConnection=False)) is not None


@pytest.mark.parametrize(("policy", "is_right"), [("Release", True), ("Retain", False)])
def test_a_deletion_asks_for_a_release_by_its_policy(policy: str, is_right: bool) -> None:  # noqa: FBT001
    leaving = resource(deletionPolicy=policy)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"

    assert (judge.wrong_intent(leaving) is None) is is_right


def test_a_secret_is_found_wherever_it_stands() -> None:
    assert judge.leaks("a key=hush, and hush", ["hush"]) == 2
    assert judge.leaks("nothing here", ["hush"]) == 0


def test_an_exception_in_a_log_is_found_also_in_json() -> None:
    log = ["fine", '{"message": "x", "exc_info": "Traceback (most recent call last):\\n …"}', "never mind"]

    assert [line[:15] for line in judge.wrong_lines(log, ["hush"])] == ['{"message": "x"']


@pytest.mark.parametrize("words", judge.UNFORESEEN)
def test_what_nobody_waited_for_or_closed_is_found(words: str) -> None:
    assert list(judge.wrong_lines([f"{words}client session\n"], [])) == [f"{words}client session"]


def test_a_secret_in_a_log_is_found_and_not_repeated() -> None:
    assert list(judge.wrong_lines(["fine", "key=hush"], ["hush"])) == ["a secret is in line 2"]


# --- the end ------------------------------------------------------------------------------------------------------

THERE = {"directConnection": True, "busy": False}


def test_an_end_as_the_manifest_says_is_right() -> None:
    assert judge.wrong_end(resource(), THERE) == []


def test_an_end_that_is_not_as_the_manifest_says_is_told() -> None:
    assert judge.wrong_end(resource(), THERE | {"directConnection": False}) == [
        "it wants True, and the cloud has False"
    ]
    assert judge.wrong_end(resource(), THERE | {"busy": True}) != []


def test_an_end_with_a_request_that_was_not_handled_is_told() -> None:
    asked = resource()
    asked["metadata"]["annotations"] = {judge.ANNOTATION_RECONCILE: "now"}

    assert judge.wrong_end(asked, THERE) == ["it was asked for a look at now, which was not handled"]

    asked["status"]["lastHandledReconcileAt"] = "now"

    assert judge.wrong_end(asked, THERE) == []


def test_an_end_that_is_not_ready_or_about_an_older_manifest_is_told() -> None:
    unready, older = resource(), resource()
    unready["status"]["conditions"][0]["status"] = "False"
    older["metadata"]["generation"] = 3

    assert judge.wrong_end(unready, THERE)[0].startswith("it is not Ready")
    assert any("is not Ready" in problem for problem in judge.wrong_end(older, THERE))


SPECS = {1: {"directConnection": True}}


def test_ends_that_are_all_as_the_manifests_say_are_right() -> None:
    gone = {"directConnection": False, "busy": False}

    assert judge.wrong_ends(SPECS, {2: "Release", 3: "Retain"}, {1: resource()}, {1: THERE, 2: gone, 3: THERE}) == []


def test_a_resource_too_many_or_too_few_or_with_another_manifest_is_told() -> None:
    other = resource(directConnection=None)

    assert judge.wrong_ends({}, {}, {1: resource()}, {}) == ["resource 1 is still there"]
    assert judge.wrong_ends(SPECS, {}, {}, {1: THERE}) == ["resource 1 is not there"]
    assert judge.wrong_ends(SPECS, {}, {1: other}, {1: THERE}) == [
        "resource 1 has another manifest than its users wrote"
    ]


def test_an_endpoint_that_a_deletion_should_have_released_is_told() -> None:
    [words] = judge.wrong_ends({}, {2: "Release"}, {}, {2: THERE})

    assert words == "resource 2 was deleted with policy Release, and the endpoint is there"


def test_whatever_happens_at_rest_is_told() -> None:
    before = judge.Written(5, 6, 7)

    assert judge.not_at_rest(before, before) == []
    for after in (judge.Written(6, 6, 7), judge.Written(5, 7, 7), judge.Written(5, 6, 8)):
        assert len(judge.not_at_rest(before, after)) == 1


def test_an_end_that_breaks_a_rule_of_kstatus_is_told() -> None:
    both = resource()
    both["status"]["conditions"].append({"type": "Stalled", "status": "True", "observedGeneration": 2})

    assert "it breaks FAIL0001" in judge.wrong_end(both, THERE)


# --- the ledger, chance, plots ------------------------------------------------------------------------------------


def entry(sequence: int, **fields: object) -> dict[str, Any]:
    known = {"time": "2026-11-24T12:00:00Z", "action": RELEASE, "instanceId": IT, "requestId": f"id-{sequence}"}
    return {"sequence": sequence, **known, "effective": True, "fault": None, "done": True} | fields


def test_a_call_that_still_runs_is_read_again_and_none_counts_twice() -> None:
    calls = Calls()
    calls.add([entry(1), entry(2, done=False, effective=False), entry(3, fault="delay")])

    assert (calls.read_to, sorted(calls.mutating)) == (1, [1, 3])

    calls.add([entry(2, fault="late"), entry(3, fault="delay"), entry(4, action="DescribeInstances")])

    assert (calls.read_to, sorted(calls.mutating), calls.faults) == (4, [1, 2, 3], 2)
    assert calls.mutating[2].is_effective
    assert calls.request_ids == {"id-1", "id-2", "id-3", "id-4"}


def test_a_change_that_failed_afterwards_has_cut_nobody_off() -> None:
    calls = Calls()
    calls.add([entry(1, fault="async-failure"), entry(2)])

    assert [known.is_effective for known in calls.of_instances()[IT]] == [False, True]


def test_every_kind_of_fault_is_drawn_before_any_comes_again_and_the_simulator_knows_it() -> None:
    trouble = Trouble(random.Random(3), longest=3)  # noqa: S311 - the same each time
    drawn = [trouble.draw() for _ in range(4 * len(KINDS))]

    assert {fault["kind"] for fault in drawn[: len(KINDS)]} == set(KINDS) == set(FIELDS)
    assert [parse_fault(fault).kind for fault in drawn] == [fault["kind"] for fault in drawn]
    assert {fault.get("apply") for fault in drawn} == {None, True, False}


def test_a_seed_draws_the_same_again() -> None:
    decks = [Deck(random.Random(seed), range(9)) for seed in (7, 7, 8)]  # noqa: S311 - that is the point
    one, same, other = ([deck.draw() for _ in range(9)] for deck in decks)

    assert one == same != other
    assert sorted(one) == sorted(other) == list(range(9))


def test_a_chart_shows_its_marks() -> None:
    lines: Series = {"it": [(0.0, 1.0), (10.0, 2.0)]}
    plain, marked = line_chart("t", "x", "y", lines), line_chart("t", "x", "y", lines, marks=(2.5, 5))

    assert marked.count("stroke-dasharray") - plain.count("stroke-dasharray") == 2
