"""The questions around a decision: who may be looked at, who owns an instance, what a restart has to look at."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from tair_operator.listing import Listed
from tair_operator.models import (
    ANNOTATION_RECONCILE,
    FINALIZER,
    Outcome,
    Reason,
    TairInstance,
)
from tair_operator.plan import needs_look, owner_of
from tair_operator.ports import Key
from tair_operator.situation import Policy, Situation, Verb
from tests.builders import (
    EVERYTHING,
    NOW,
    RESYNC,
    ago,
    condition,
    context,
    minutes,
    observation,
    operation,
    resource,
    seconds,
    status,
)

ASKED = {ANNOTATION_RECONCILE: "1"}


@pytest.mark.parametrize(
    ("suspend", "verbs", "answer"),
    [
        (None, EVERYTHING, True),
        (False, {Verb.OBSERVE}, True),
        (True, EVERYTHING, False),
        (None, {Verb.RELEASE}, False),
        (None, set(), False),
    ],
)
def test_looks_only_where_it_may(suspend: bool | None, verbs: Iterable[Verb], answer: bool) -> None:  # noqa: FBT001
    assert needs_look(resource(suspend=suspend), context(verbs=frozenset(verbs))) is answer


def test_the_oldest_claim_owns_the_instance() -> None:
    older = resource(uid="b", created=ago(10))

    assert owner_of([resource(uid="a"), older, resource(uid="c")]) is older


def test_of_two_claims_of_one_age_the_lower_uid_owns_the_instance() -> None:
    first = resource(uid="a", key=Key("z", "z"))

    assert owner_of([resource(uid="b"), first]) is first


def test_a_claim_that_is_being_deleted_owns_nothing() -> None:
    assert owner_of([resource(deleted=NOW, created=ago(10))]) is None


READY = [condition("Ready", "True", Reason.RELEASED)]
STALLED = [condition("Ready", "False", Reason.CONTESTED), condition("Stalled", "True", Reason.CONTESTED)]
DUE_AT_ONCE, NEVER = timedelta(0), None


@pytest.mark.parametrize(
    ("listed", "due"),
    [
        pytest.param(resource(), DUE_AT_ONCE, id="never seen"),
        pytest.param(resource(status=status(conditions=READY)), RESYNC, id="ready"),
        pytest.param(resource(status=status(conditions=STALLED)), RESYNC, id="stalled"),
        pytest.param(resource(status=status(conditions=READY), resync_seconds=0), NEVER, id="ready, no resync"),
        pytest.param(
            resource(status=status(conditions=STALLED), resync_seconds=0), minutes(30), id="stalled, no resync"
        ),
        pytest.param(resource(status=status(conditions=READY), generation=2), DUE_AT_ONCE, id="edited"),
        pytest.param(resource(status=status(conditions=READY), annotations=ASKED), DUE_AT_ONCE, id="asked for"),
        pytest.param(
            resource(status=status(conditions=READY), deletion_policy="Release"), DUE_AT_ONCE, id="finalizer taken away"
        ),
        pytest.param(
            resource(status=status(conditions=READY), deletion_policy="Release", finalizers=[FINALIZER]),
            RESYNC,
            id="finalizer in its place",
        ),
        pytest.param(
            resource(status=status(conditions=[condition("Ready", "False"), condition("Reconciling")])),
            DUE_AT_ONCE,
            id="under way",
        ),
        pytest.param(resource(status=status(conditions=READY, operation=operation())), DUE_AT_ONCE, id="in doubt"),
        pytest.param(
            resource(status=status(conditions=READY, operation=operation(outcome=Outcome.SUCCEEDED))),
            RESYNC,
            id="operation over",
        ),
    ],
)
def test_a_restart_costs_nothing_for_what_is_settled(listed: TairInstance, due: timedelta | None) -> None:
    assert Listed.of(listed, NOW).until_due(Policy(), NOW) == due


def test_the_resync_instant_depends_on_the_uid_and_not_on_the_time_of_the_start() -> None:
    instants = set()
    for second in range(0, 1200, 7):
        now = NOW + seconds(second)
        due = Listed.of(resource(status=status(conditions=READY)), now).until_due(Policy(), now)

        assert due is not None
        assert minutes(1) < due <= minutes(11)
        instants.add((now + due).timestamp() % 600)

    assert len(instants) == 1


def test_a_rule_that_asks_for_what_was_not_seen_is_told_so() -> None:
    with pytest.raises(TypeError, match="an observation where there is none"):
        _ = Situation(resource(), None, context(), NOW).observation
    with pytest.raises(TypeError, match="an instance where there is none"):
        _ = Situation(resource(), observation(missing=True), context(), NOW).instance
