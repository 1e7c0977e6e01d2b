"""Each safety rule is broken on purpose, in one line of the real code, and the oracle has to notice.

The same plans pass with the code as it is, so it is the broken line that is found.
Rules are those of docs/explanation/architecture.md and of the design behind it: a
LIST first, two looks, an unsettled call blocks, guards, owner, intent, fence, answer,
access list, deletion, mode Observe.
"""

import asyncio
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tair_operator import operations, plan, proposal, reconcile, settling, situation
from tair_operator.cluster import resources
from tair_operator.memory import Memory
from tair_operator.models import ANNOTATION_APPROVE
from tair_operator.runtime import Operator
from tair_operator.situation import Grant, Verb
from tests.builders import EVERYTHING, KEY
from tests.faults.explore import Change, run
from tests.faults.faults import Plan
from tests.faults.world import World


@dataclass(frozen=True)
class Broken:
    """A line of the code, what becomes of it, and a plan that has to find it."""

    owner: Any
    """The module or the class that the function belongs to."""
    function: str
    old: str
    new: str
    plan: str
    finds: str
    """A part of the violation."""
    change: Change | None = None
    """What is different in this world, broken or not."""


def without(rule: str, plan_text: str, finds: str, change: Change | None = None) -> Broken:
    """Return a break that takes a rule out of the table."""
    return Broken(plan, "RULES", rule, "", plan_text, finds, change)


def holding_releases(world: World) -> None:
    world.grant = Grant(EVERYTHING, are_releases_held=True)


def only_allowing_looks(world: World) -> None:
    world.grant = Grant(frozenset({Verb.OBSERVE}), "Add this line.")


def only_observing(world: World) -> None:
    world.policy = replace(world.policy, is_observing_only=True)


def losing_the_lease_at_the_intent(world: World) -> None:
    def is_announced() -> bool:
        return any(write.name == "PATCH-intent" for write in world.kubernetes.writes)

    world.may_call = lambda: not is_announced()


def approving_another_plan(world: World) -> None:
    def approve() -> None:
        world.kubernetes.annotate(KEY, **{ANNOTATION_APPROVE: "0123456789ab"})

    asyncio.get_running_loop().call_later(5, approve)


BROKEN: dict[str, Broken] = {
    "1: passes begin before the first LIST": Broken(
        Operator,
        "_work",
        "await _first_of(self._listed, self.stopping)",
        "pass",
        "release/LIST.1:before:silence",
        "before the first complete LIST",
    ),
    "2: one look is enough to believe an absence": Broken(
        situation.Situation,
        "is_absence_believed",
        "return self.last_state",
        "return True or self.last_state",
        "allocate/DescribeDBInstanceNetInfo.6:before:partial",
        "although the endpoint is there",
    ),
    "2: an answer without items means that there is no endpoint": Broken(
        situation,
        "presence",
        "return Presence.UNKNOWN",
        "return Presence.ABSENT",
        "release/DescribeDBInstanceNetInfo.1:before:no-items + DescribeDBInstanceNetInfo.2:before:no-items",
        "is Ready with directConnection False",
    ),
    "4: a call that has not settled blocks nothing": without(
        "operation_unsettled", "release/ReleaseDirectConnection.1:before:late", "may still take effect"
    ),
    "4: a call settles at once": Broken(
        settling,
        "settled_outcome",
        "s.seen_for(doubt_about(operation)) >= s.context.policy.settle",
        "True",
        "release/ReleaseDirectConnection.1:before:late",
        "may still take effect",
    ),
    "4: the call of a deleted namesake blocks nothing": Broken(
        Memory,
        "call_of_another",
        "call is None or",
        "True or",
        "recreate/ReleaseDirectConnection.1:before:late",
        "is Ready with directConnection True",
    ),
    "5: the fleet switch is not asked": without("releases_held", "release/", "releases are held", holding_releases),
    "5: nobody has to approve": without("approval_required", "approval/", "without the approval"),
    "5: an approval of another plan will do": Broken(
        proposal,
        "is_approved",
        "approval_of(s) == known.id",
        "True",
        "approval/",
        "without the approval",
        approving_another_plan,
    ),
    "5: the window is always open": without("window_closed", "window/", "outside of the maintenance window"),
    "5: nothing is withdrawn before a release": without("draining", "drain/", "still publishes the endpoint"),
    "5: the drain is cut short": Broken(
        proposal,
        "drain_left",
        "max(s.drain - passed, timedelta(0))",
        "timedelta(0)",
        "drain/PATCH-status.2:after-answer:crash",
        "was withdrawn",
    ),
    "6: whoever comes acts": without("claimed_by_another", "duplicate/", "under way"),
    "6: drift is corrected by releases for ever": Broken(
        plan, "drift_only_reported", "last.outcome is Outcome.SUCCEEDED", "False", "contested/", "differs"
    ),
    "7: an intent is stored whatever was edited meanwhile": Broken(
        resources.Resources,
        "write_status",
        '"value": resource.metadata.resource_version',
        '"value": (await self.get(_key(resource))).metadata.resource_version',
        "regret/",
        "does not ask for it",
    ),
    "7: a name is taken for the resource": Broken(
        resources.Resources,
        "write_answer",
        "path, attempt = ",
        "patch = patch[3:]\n    path, attempt = ",
        "recreate/" + " + ".join(f"PATCH-answer.{number}:before:lost" for number in range(1, 6)),
        "shows the call of another resource",
    ),
    "8: a call leaves long after its intent": Broken(
        reconcile._Fence,
        "is_late",
        "return passed > FENCE_SECONDS",
        "return False",
        "flip-flop/PATCH-intent.1:after-effect:slow",
        "does not want that",
    ),
    "8: a replica calls that lost its Lease after the intent": Broken(
        reconcile.Reconciler,
        "_act",
        "elif not self.may_call():",
        "elif False:",
        "release/",
        "does not lead",
        losing_the_lease_at_the_intent,
    ),
    "9: no answer is taken for a refusal": Broken(
        operations,
        "failed",
        "error.effect is Effect.POSSIBLE",
        "False",
        "release/ReleaseDirectConnection.1:before:late",
        "may still take effect",
    ),
    "9: an answer opens again what was closed": Broken(
        resources.Resources,
        "write_answer",
        '{"op": "test", "path": "/status/operation/finishedAt", "value": None},\n',
        "",
        "release/PATCH-answer.1:before:late",
        "is Ready while its operation is Accepted",
    ),
    "9: an acknowledgement is a success": Broken(
        operations, "accepted", "Outcome.ACCEPTED", "Outcome.SUCCEEDED", "flip-flop/", "differs|another one|under way"
    ),
    "10: the access list is not asked": without(
        "acting_not_allowed", "release/", "access list does not allow", only_allowing_looks
    ),
    "11: a deletion releases what others allocated, unasked": Broken(
        situation.Situation,
        "is_our_endpoint",
        "return self.has_just",
        "return True or self.has_just",
        "adopted/",
        "without the approval",
    ),
    "12: mode Observe calls": without("only_planned", "release/", "in mode Observe", only_observing),
}


def break_it(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    """Put the broken function in the place of the right one, wherever it is used."""
    if broken.function == "RULES":
        rules = tuple(rule for rule in plan.RULES if rule.__name__ != broken.old)
        assert len(rules) == len(plan.RULES) - 1
        monkeypatch.setattr(plan, "RULES", rules)
        return
    right = vars(broken.owner)[broken.function]
    function = right.fget if isinstance(right, property) else right
    assert callable(function)
    wrong = altered(function, broken.old, broken.new)
    monkeypatch.setattr(broken.owner, broken.function, property(wrong) if isinstance(right, property) else wrong)
    if right in plan.RULES:
        monkeypatch.setattr(plan, "RULES", tuple(wrong if rule is right else rule for rule in plan.RULES))
    if inspect.ismodule(broken.owner):
        for name, module in list(sys.modules.items()):
            if name.startswith("tair_operator") and vars(module).get(broken.function) is right:
                monkeypatch.setattr(module, broken.function, wrong)


def altered(function: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """Return a function as it would be with one place of its source changed."""
    source = textwrap.dedent(inspect.getsource(function)).removeprefix("@property\n")
    old = textwrap.dedent(old)
    assert old in source or old in textwrap.dedent(source), f"{function.__qualname__} has no {old!r} any more"
    names: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<broken {function.__qualname__}>", "exec"), function.__globals__, names)  # noqa: S102
    made: Callable[..., Any] = names[function.__name__]
    return made


def violations(broken: Broken) -> list[str]:
    """Run the plan on a world that is different as this case wants it, compared with the right code there."""
    parsed = Plan.parse(broken.plan)
    right = EXPECTED[broken.plan, broken.change]
    return list(run(parsed, expected=right, change=broken.change).violations)


EXPECTED = {
    (case.plan, case.change): run(Plan(Plan.parse(case.plan).scenario), expected=None, change=case.change)
    for case in BROKEN.values()
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    broken = BROKEN[rule]
    before = violations(broken)
    break_it(monkeypatch, broken)
    found = violations(broken)

    assert before == []
    assert any(part in text for text in found for part in broken.finds.split("|")), found
