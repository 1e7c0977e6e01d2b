"""What becomes of a resource for each row of the code table: whole passes against fakes, in virtual time.

The rows come from the table, so that a new one is tested at once. What has to follow does not: it is written down here
by class, effect and reason, from the design, and is never computed by the code under test.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

import pytest

from tair_operator.aliyun import errors
from tair_operator.aliyun.errors import TABLE, UNLISTED, UNLISTED_REFUSAL, UNLISTED_THROTTLING, Row
from tair_operator.models import Action, Outcome, Reason, TairInstance
from tair_operator.ports import (
    ANYWHERE,
    Address,
    Answer,
    CloudError,
    Effect,
    Endpoint,
    ErrorClass,
    InstanceRef,
    Observation,
    Target,
)
from tests.builders import HOST, ID, KEY, PORT, ready_status, resource
from tests.fakes import FakeCall, FakeCloud, FakeInstance, Scripted, World, absent, present, world

TRANSIENT, BUSY, BLOCKED, INVALID, CONFIRM = ErrorClass
NONE, POSSIBLE = Effect
REQUEST_ID = "5D622714-AEDD-4609-9167-F5DDD3D1AAAA"
SETTLE, RESYNC, GRACE = 300.0, 610.0, 120.0
"""The default settings; the default resource's own instant of the resync interval is ten seconds after it."""
READY_KEPT = 1800.0
HORIZON = 7200.0

# --- What has to follow ---

PASSES_BY_ITSELF = {
    Reason.CREDENTIALS_UNAVAILABLE,
    Reason.CREDENTIALS_INVALID,
    Reason.ACCESS_DENIED,
    Reason.INSTANCE_NOT_FOUND,
}
LET_IN_AGAIN = {Reason.CREDENTIALS_UNAVAILABLE, Reason.CREDENTIALS_INVALID}
"""After a refusal of the call the look before the next one shows that the credentials are good again."""
NEEDS_A_PERSON = {Reason.INSTANCE_NOT_ELIGIBLE, Reason.INVALID_REQUEST}


class Fate(NamedTuple):
    """What follows an answer: how the call is recorded, what is reported, and between which seconds it is repeated."""

    outcome: Outcome
    reason: Reason | None
    """None for the reason of the row."""
    again: tuple[float, float]


FATES = {
    (TRANSIENT, NONE): Fate(Outcome.REJECTED, None, (5, 6)),
    (BUSY, NONE): Fate(Outcome.REJECTED, None, (5, 6)),
    (BLOCKED, NONE): Fate(Outcome.REJECTED, None, (600, 601)),
    (INVALID, NONE): Fate(Outcome.REJECTED, None, (600, 601)),
    (CONFIRM, NONE): Fate(Outcome.REJECTED, Reason.OUTCOME_UNKNOWN, (SETTLE, SETTLE + 1)),
    # Looks are up to half a minute apart by the time that it has settled, and an allocation needs a second one.
    (TRANSIENT, POSSIBLE): Fate(Outcome.UNKNOWN, Reason.OUTCOME_UNKNOWN, (SETTLE, SETTLE + 36)),
    (BUSY, POSSIBLE): Fate(Outcome.UNKNOWN, Reason.OUTCOME_UNKNOWN, (SETTLE, SETTLE + 36)),
    (BLOCKED, POSSIBLE): Fate(Outcome.UNKNOWN, Reason.OUTCOME_UNKNOWN, (SETTLE + 600, SETTLE + 636)),
}
NOT_SENT = Fate(Outcome.NOT_SENT, Reason.CLOUD_UNREACHABLE, (1, 2))

# --- The codes ---


class Case(NamedTuple):
    """A code, and how it arrives."""

    row: Row
    code: str
    http_status: int | None

    @property
    def fate(self) -> Fate:
        if self.code in NEVER_SENT:
            return NOT_SENT
        passes = self.row.reason in LET_IN_AGAIN
        return FATES[TRANSIENT if passes else self.row.error_class, self.row.effect]

    @property
    def reason(self) -> Reason:
        """What is reported after the call."""
        return self.fate.reason or self.row.reason

    def error(self, action: str, *, sent: bool = True) -> CloudError:
        return CloudError(
            action=action,
            code=self.code,
            message=f"Because of {self.code}.",
            error_class=self.row.error_class,
            effect=self.row.effect,
            reason=self.row.reason,
            http_status=self.http_status,
            request_id=None if self.http_status is None else REQUEST_ID,
            sent=sent and self.code not in NEVER_SENT,
        )


NEVER_SENT = {errors.CONNECTION_FAILED, errors.PAUSED, errors.CREDENTIALS_MISSING, errors.CREDENTIALS_MALFORMED}
BEFORE_THE_INTENT = NEVER_SENT - {errors.CONNECTION_FAILED}
"""These keep a call from being prepared; a connection may still break when the intent is stored."""
STATUSES = dict.fromkeys(NEVER_SENT | {errors.NO_ANSWER}) | {errors.REDIRECTED: 302, errors.UNREADABLE_ANSWER: 200}


def case(row: Row) -> Case:
    """Return a code of this row, with a status that means something else: only the code may decide."""
    code = row.code.replace("*", "Whatever")
    return Case(row, code, STATUSES.get(code, 400 if row.error_class is TRANSIENT else 500))


CASES = [
    *map(case, TABLE),
    Case(UNLISTED_REFUSAL, "NeverHeardOf.Refusal", 409),
    Case(UNLISTED_THROTTLING, "NeverHeardOf.Throttling", 429),
    Case(UNLISTED, "NeverHeardOf.Trouble", 502),
]
ANSWERS = [case for case in CASES if case.code not in BEFORE_THE_INTENT]


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Run a test for each of these codes."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.code) for case in cases])


def each_call(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Run a test for each of these codes as the answer of each call that it belongs to."""
    calls = [
        pytest.param(action, case, id=f"{action.name.lower()}-{case.code}")
        for case in cases
        for action in Action
        if (action, case.code) != (Action.ALLOCATE, "NetTypeNotExists")
    ]
    return pytest.mark.parametrize(("action", "case"), calls)


# --- The world ---


@dataclass
class CloudByTheTable(FakeCloud):
    """A cloud whose codes mean what the real adapter says, and that can be out of sight."""

    called_at: list[float] = field(default_factory=list)
    """When each call left, or would have left."""
    normal_at: list[float] = field(default_factory=list)
    """When a look showed that the instance is Normal."""
    blinding: CloudError | None = None
    """What every look ends with."""
    hindering: CloudError | None = None
    """What every attempt to prepare a call ends with."""

    def classify(self, code: str | None, http_status: int | None) -> tuple[ErrorClass, Reason]:
        row = errors.classify(code, http_status)
        return row.error_class, row.reason

    async def observe(self, target: Target) -> Observation:
        if self.blinding is not None:
            raise replace(self.blinding)
        seen = await super().observe(target)
        if seen.instance is not None and seen.instance.status == "Normal":
            self.normal_at.append(self.clock.ticks)
        return seen

    def receive(self, action: Action, ref: InstanceRef) -> Answer:
        self.called_at.append(self.clock.ticks)
        return super().receive(action, ref)

    async def prepare(self, action: Action, target: Target, address: Address = ANYWHERE) -> FakeCall:
        if self.hindering is not None:
            raise replace(self.hindering)
        return await super().prepare(action, target, address)


def a_world(found: FakeInstance, made: TairInstance) -> tuple[World, CloudByTheTable]:
    w = world(found, made)
    w.cloud = cloud = CloudByTheTable(clock=w.clock, instances={ID: found})
    w.restart()
    return w, cloud


async def answered(action: Action, case: Case, *, effective: bool = False) -> tuple[World, CloudByTheTable]:
    """Return a world in which the call was just answered with this code, and nothing was reported yet."""
    is_release = action is Action.RELEASE
    w, cloud = a_world(present() if is_release else absent(), resource(not is_release))
    cloud.script.append(Scripted(case.error(action), effective=effective))
    await until_called(w, cloud, 1)
    return w, cloud


async def until_called(w: World, cloud: CloudByTheTable, times: int) -> None:
    """Run passes as the queue would, until so many calls were made."""
    end = w.clock.ticks + HORIZON
    while len(cloud.called_at) < times:
        pause = await w.one_pass()
        assert pause is not None
        assert w.clock.ticks < end, f"no call number {times} in {HORIZON} s"
        if len(cloud.called_at) < times:
            w.clock.advance(max(pause, timedelta(seconds=0.01)))


def make_busy(w: World, instance: FakeInstance, seconds: float) -> None:
    """Let somebody else change the instance for a while, without any difference in the end."""
    instance.status, instance.busy_until, instance.after = "Changing", w.clock.ticks + seconds, instance.endpoint


def conditions(w: World) -> dict[str, tuple[str, str]]:
    return {found.type: (found.status, found.reason) for found in w.seen().status.conditions}


def error(w: World) -> dict[str, object] | None:
    found = w.seen().status.error
    if found is None:
        return None
    return found.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"time"})


def shown(case: Case, action: str) -> dict[str, object]:
    """Return what status.error has to say, but for the time."""
    known: dict[str, object] = {"action": action, "code": case.code, "message": f"Because of {case.code}."}
    return known if case.http_status is None else known | {"httpStatus": case.http_status, "requestId": REQUEST_ID}


def not_ready(stance: str, reason: Reason, ready: str = "False") -> dict[str, tuple[str, str]]:
    return {"Ready": (ready, reason), stance: ("True", reason)}


def never_ready_with_an_error(w: World) -> bool:
    shown_with_errors = [write.status.condition("Ready") for write in w.cluster.writes if write.status.error]
    return all(ready is not None and ready.status != "True" for ready in shown_with_errors)


def reached(action: Action) -> tuple[str, str]:
    return "True", "Released" if action is Action.RELEASE else "Allocated"


# --- The code answers a call ---


def test_each_code_stands_for_its_own_row() -> None:
    assert {case.code: errors.classify(case.code, case.http_status) for case in CASES} == {
        case.code: case.row for case in CASES
    }


@each_call(ANSWERS)
async def test_an_answer_is_recorded_and_reported_at_once(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case)

    await w.one_pass()

    operation = w.seen().status.operation
    stance = "Stalled" if case.reason in NEEDS_A_PERSON else "Reconciling"
    assert operation is not None
    assert (operation.outcome, operation.code) == (case.fate.outcome, case.code)
    assert (operation.finished_at is None) is (case.fate.outcome is Outcome.UNKNOWN)
    assert conditions(w) == not_ready(stance, case.reason)
    assert error(w) == shown(case, action)
    assert w.seen().status.request_id == (None if case.http_status is None else REQUEST_ID)
    assert len(cloud.called_at) == 1


@each_call(ANSWERS)
async def test_the_call_is_repeated_when_its_time_has_come_and_not_before(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case)

    await until_called(w, cloud, 2)
    first, second = cloud.called_at
    await w.run(60)

    least, most = case.fate.again
    assert least <= second - first <= most
    assert (w.ready(), error(w)) == (reached(action), None)
    assert never_ready_with_an_error(w)
    assert len(cloud.called_at) == 2


@each_call(case for case in ANSWERS if case.reason in PASSES_BY_ITSELF - LET_IN_AGAIN)
async def test_a_refusal_whose_cause_may_pass_by_itself_stalls_after_the_grace(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case)

    await w.run(GRACE - 1)
    within_the_grace = conditions(w)
    await w.run(16)

    assert within_the_grace == not_ready("Reconciling", case.reason)
    assert conditions(w) == not_ready("Stalled", case.reason)
    assert error(w) == shown(case, action)
    assert len(cloud.called_at) == 1


REFUSED_FOR_BEING_BUSY = [case for case in ANSWERS if (case.row.error_class, case.row.effect) == (BUSY, NONE)]


@each_call(REFUSED_FOR_BEING_BUSY)
async def test_while_the_instance_is_busy_it_is_not_called_again(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case)
    make_busy(w, cloud.instances[ID], 60)

    await w.run(59)
    while_busy = (len(cloud.called_at), conditions(w), error(w))
    await until_called(w, cloud, 2)

    assert while_busy == (1, not_ready("Reconciling", Reason.INSTANCE_BUSY), shown(case, action))
    assert cloud.called_at[1] - cloud.called_at[0] <= 60 + 30 + 5


@each_call(REFUSED_FOR_BEING_BUSY)
async def test_the_first_look_that_shows_normal_after_a_refusal_is_followed_by_the_call(
    action: Action, case: Case
) -> None:
    w, cloud = await answered(action, case)
    refused_at = w.clock.ticks
    make_busy(w, cloud.instances[ID], 60)

    await until_called(w, cloud, 2)

    assert cloud.called_at[1] == next(time for time in cloud.normal_at if time > refused_at)


@each_call(case for case in ANSWERS if case.row.error_class is CONFIRM)
async def test_what_the_cloud_says_is_so_already_is_believed_when_a_look_agrees(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case)
    cloud.instances[ID].endpoint = None if action is Action.RELEASE else Endpoint(HOST, PORT, direct=True)
    looks = cloud.looks

    await w.run(30)

    assert cloud.looks > looks
    assert (w.ready(), error(w)) == (reached(action), None)
    assert never_ready_with_an_error(w)
    assert len(cloud.called_at) == 1


@each_call(case for case in ANSWERS if case.row.effect is POSSIBLE)
async def test_a_call_that_took_effect_in_spite_of_its_answer_is_not_repeated(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case, effective=True)

    await w.run(HORIZON)

    operation = w.seen().status.operation
    assert operation is not None
    assert (operation.outcome, operation.code) == (Outcome.SUCCEEDED, case.code)
    assert (w.ready(), error(w)) == (reached(action), None)
    assert never_ready_with_an_error(w)
    assert len(cloud.called_at) == 1

    make_busy(w, cloud.instances[ID], 60)
    w.cluster.edit(KEY, direct_connection=action is Action.RELEASE)
    await w.one_pass()

    assert (conditions(w), error(w)) == (not_ready("Reconciling", Reason.INSTANCE_BUSY), None)


@pytest.mark.parametrize(("code", "pause"), [("Throttling.User", 5), ("NetTypeNotExists", SETTLE)])
async def test_a_look_that_fails_during_the_pause_after_a_refusal_does_not_prolong_it(code: str, pause: float) -> None:
    w, cloud = await answered(Action.RELEASE, next(case for case in CASES if case.code == code))
    await w.one_pass()
    w.clock.advance(pause - 2)
    await w.one_pass()
    cloud.blinding = next(case for case in CASES if case.code == "ServiceUnavailable").error("DescribeInstances")
    await w.run(1)
    cloud.blinding = None

    await until_called(w, cloud, 2)

    assert cloud.called_at[1] - cloud.called_at[0] <= pause + 1


@each_call(case for case in ANSWERS if case.fate in {FATES[BLOCKED, NONE], FATES[INVALID, NONE]})
async def test_an_edit_ends_the_long_pause_after_a_refusal_but_not_the_short_one(action: Action, case: Case) -> None:
    w, cloud = await answered(action, case)
    await w.run(GRACE)
    w.cluster.edit(KEY, resync_seconds=700)
    edited_at = w.clock.ticks

    await until_called(w, cloud, 2)

    assert 5 <= cloud.called_at[1] - edited_at <= 6


# --- The code keeps a call from being prepared ---


@each(CASES)
async def test_what_keeps_a_call_from_being_prepared_is_reported_and_nothing_is_called(case: Case) -> None:
    w, cloud = a_world(present(), resource(False))
    cloud.hindering = case.error("DescribeDBInstanceNetInfo", sent=False)

    pause = await w.one_pass()

    assert pause == timedelta(seconds=look_again(case))
    assert conditions(w) == not_ready(look_stance(case), case.row.reason)
    assert error(w) == shown(case, "DescribeDBInstanceNetInfo")
    assert (w.seen().status.operation, cloud.called_at) == (None, [])

    cloud.hindering = None
    w.clock.advance(pause)
    await w.run(60)

    assert (w.ready(), error(w)) == (reached(Action.RELEASE), None)
    assert len(cloud.called_at) == 1


# --- The code answers a look ---


def look_stance(case: Case) -> str:
    """Return what a failed look means for a resource that is not ready."""
    passes = case.row.error_class in {TRANSIENT, BUSY} or case.row.reason in PASSES_BY_ITSELF
    return "Reconciling" if passes else "Stalled"


def look_again(case: Case) -> float:
    """Return the seconds to the next look: soon for what passes, within the grace for what may pass, else at resync."""
    if case.row.error_class in {TRANSIENT, BUSY}:
        return 1
    return 15 if case.row.reason in PASSES_BY_ITSELF else RESYNC


@each(CASES)
async def test_a_look_that_fails_at_first_is_reported_and_nothing_is_called_before_one_succeeds(case: Case) -> None:
    w, cloud = a_world(present(), resource(False))
    cloud.blinding = case.error("DescribeInstances")

    pause = await w.one_pass()

    assert pause == timedelta(seconds=look_again(case))
    assert conditions(w) == not_ready(look_stance(case), case.row.reason)
    assert error(w) == shown(case, "DescribeInstances")
    assert (w.seen().status.operation, cloud.called_at) == (None, [])

    cloud.blinding = None
    w.clock.advance(pause)
    await w.run(60)

    assert (w.ready(), error(w)) == (reached(Action.RELEASE), None)
    assert len(cloud.called_at) == 1


@each(CASES)
async def test_looks_that_fail_leave_what_is_ready_ready_for_half_an_hour(case: Case) -> None:
    w, cloud = a_world(absent(), resource(False, status=ready_status(False)))
    cloud.blinding = case.error("DescribeDBInstanceNetInfo")

    await w.one_pass()
    at_once = (conditions(w), error(w))
    await w.run(READY_KEPT - 1)
    at_the_end = (conditions(w), error(w))
    await w.run(RESYNC + 1)

    kept = ({"Ready": ("True", "Released")}, shown(case, "DescribeDBInstanceNetInfo"))
    passes = case.row.error_class in {TRANSIENT, BUSY}
    after = not_ready("Reconciling", case.row.reason, "Unknown") if passes else not_ready("Stalled", case.row.reason)
    assert (at_once, at_the_end) == (kept, kept)
    assert (conditions(w), error(w)) == (after, kept[1])
    assert cloud.called_at == []

    cloud.blinding = None
    await w.run(RESYNC + 60)

    assert (conditions(w), error(w)) == ({"Ready": ("True", "Released")}, None)
    assert cloud.called_at == []


@each(CASES)
async def test_a_look_that_fails_while_a_release_is_under_way_sends_no_second_one(case: Case) -> None:
    w, cloud = a_world(present(), resource(False))
    await until_called(w, cloud, 1)
    cloud.blinding = case.error("DescribeInstances")

    await w.run(2 * SETTLE)
    blind = (conditions(w), error(w))
    cloud.blinding = None
    await w.run(60)

    assert blind == (not_ready("Reconciling", Reason.RELEASING), shown(case, "DescribeInstances"))
    assert (w.ready(), error(w)) == (reached(Action.RELEASE), None)
    assert len(cloud.called_at) == 1
