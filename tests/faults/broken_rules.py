"""The safety rules, each broken on purpose: a line of the code, what becomes of it, and a plan that has to find it.

Rules are those of docs/explanation/architecture.md and of the design behind it: a
LIST first, two looks, an unsettled call blocks, guards, owner, intent, fence, answer,
access list, deletion, mode Observe. ``changes.py`` makes the world different, for
rules that no scenario needs.
"""

from dataclasses import dataclass
from typing import Any

from tair_operator import operations, ownership, plan, proposal, reconcile, settling, situation
from tair_operator.aliyun import client
from tair_operator.cluster import resources
from tair_operator.memory import Memory, ReleaseBudget
from tair_operator.runtime import Operator
from tests.faults import changes
from tests.faults.explore import Change


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
    also: "Broken | None" = None
    """What has to be broken as well, where two rules guard the same."""
    gives_up: bool = False
    """Whether the right code ends otherwise than without the faults."""


def without(rule: str, plan_text: str, finds: str, change: Change | None = None) -> Broken:
    """Return a break that takes a rule out of the table."""
    return Broken(plan, "RULES", rule, "", plan_text, finds, change)


BROKEN: dict[str, Broken] = {
    "1: passes begin before the first LIST": Broken(
        Operator,
        "_work",
        "await _first_of(self._listed, self.stopping)",
        "pass",
        "release/LIST.1:before:silence",
        "before the first complete LIST",
    ),
    "1: a suspended resource is looked at and called for": Broken(
        plan,
        "suspended",
        "if not s.resource.spec.suspend:",
        "if True:",
        "release/",
        "is suspended",
        changes.suspended,
        also=Broken(plan, "needs_look", "and not resource.spec.suspend", "", "", ""),
    ),
    "2: an instance of another region will do": Broken(
        situation.Situation,
        "has_seen_instance",
        "(seen.instance_id, seen.region_id) == (spec.instance_id, spec.region_id)",
        "bool(spec)",
        "release/",
        "in another region",
        changes.in_another_region,
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
    "4: who has called in vain goes on calling": Broken(
        plan,
        "RULES",
        "releases_without_effect",
        "",
        "release/" + " + ".join(f"ReleaseDirectConnection.{number}:before:silence" for number in (1, 2, 3)),
        "for the 4th time",
        gives_up=True,
    ),
    "5: the fleet switch is not asked": without(
        "releases_held", "release/", "releases are held", changes.holding_releases
    ),
    "5: nobody has to approve": without("approval_required", "approval/", "without the approval"),
    "5: the operator's own wish for an approval is not asked": Broken(
        situation.Situation,
        "needs_approval",
        "policy.needs_approval\n",
        "False\n",
        "release/",
        "without the approval",
        changes.asking_for_approvals,
    ),
    "5: an approval outlives its plan": Broken(
        proposal,
        "is_approved",
        " and not is_too_late(s, known)",
        "",
        "approval/",
        "on a plan that lapsed",
        changes.busy_until_the_plan_lapses,
    ),
    "5: the budget is not asked": without(
        "release_budget_spent", "drift-back/", "the budget holds", changes.with_a_budget_of_one
    ),
    "5: a restart gives the budget back": Broken(
        ReleaseBudget,
        "note",
        "self.count(operation)",
        "pass",
        "drift-back/PATCH-status.1:after-answer:crash",
        "the budget holds",
        changes.with_a_budget_of_one,
    ),
    "5: nobody looks again after a long wait": Broken(
        reconcile.Reconciler,
        "_approach",
        "or look.age(self.clock) > LOOK_MAX",
        "",
        "release/",
        "on a look that is",
        changes.preparing_for_a_minute,
    ),
    "5: an approval of another plan will do": Broken(
        proposal,
        "is_approved",
        "approval_of(s) == known.id",
        "True",
        "approval/",
        "without the approval",
        changes.approving_another_plan,
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
    "6: nobody asks live who claims the instance": Broken(
        ownership.Ownership,
        "ask",
        "owner is not None and owner.metadata.uid != uid",
        "False",
        "release/",
        "although orders-cache-before claims",
        changes.claimed_after_the_look,
    ),
    "6: the youngest acts": Broken(
        plan, "owner_of", "return min(", "return max(", "duplicate/", "differs|another one|claims the instance"
    ),
    "6: who takes over acts at once": without("taken_over", "duplicate/", "managed the instance"),
    "6: who found an endpoint that somebody else allocated releases it": Broken(
        plan,
        "drift_only_reported",
        "policy is DriftPolicy.ALLOCATE_ONLY and needs_release",
        "False",
        "drift-back/",
        "differs",
        changes.only_allocating_on_drift,
    ),
    "6: drift is corrected by releases for ever": Broken(
        plan, "drift_only_reported", "last.outcome is Outcome.SUCCEEDED", "False", "contested/", "differs"
    ),
    "7: an intent is stored whatever was edited meanwhile": Broken(
        resources.Resources,
        "write_status",
        '"value": resource.metadata.resource_version',
        '"value": (await self.get(key_of(resource))).metadata.resource_version',
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
    "7: a call is made although its intent was refused": Broken(
        reconcile.Reconciler,
        "_act",
        'self._call_off(resource, not_sent(operation, now, "the intent was not stored"))',
        "await self._send(call, operation)",
        "release/PATCH-intent.1:before:409",
        "without an intent",
    ),
    "7: a call is made although nobody confirmed its intent": Broken(
        reconcile.Reconciler,
        "_act",
        'await self._settle(resource, not_sent(operation, self.clock.now(), "the intent was not confirmed"))',
        "await self._send(call, operation)",
        "release/PATCH-intent.1:before:lost",
        "without an intent",
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
        changes.losing_the_lease_at_the_intent,
    ),
    "8: a call is sent again": Broken(
        reconcile.Reconciler,
        "_send",
        "return failed(operation, error, self.clock.now())",
        "answer = await call.send()",
        "release/ReleaseDirectConnection.1:before:late",
        "may still take effect",
        also=Broken(client.SignedCall, "send", "self._is_used = True", "pass", "", ""),
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
    "9: a RequestId is made up": Broken(
        operations,
        "accepted",
        "answer.request_id",
        "operation.id",
        "release/",
        "that the cloud never gave",
    ),
    "9: an acknowledgement is a success": Broken(
        operations, "accepted", "Outcome.ACCEPTED", "Outcome.SUCCEEDED", "flip-flop/", "differs|another one|under way"
    ),
    "9: the value is reached while the instance is still busy": Broken(
        plan,
        "wanted_value_seen",
        "if not s.is_normal and (reached is None or reached.direct_connection is not s.wanted):",
        "if False:",
        "allocate/",
        "is Ready while our own change is under way",
        changes.showing_too_early,
        also=Broken(settling, "settled_outcome", "s.has_seen_instance and s.is_normal", "s.has_seen_instance", "", ""),
    ),
    "10: the access list is not asked again before the call": Broken(
        reconcile.Reconciler,
        "_approach",
        "grant = await self.grant(resource)",
        "grant = context.grant",
        "release/",
        "access list does not allow",
        changes.refused_after_the_look,
    ),
    "10: the access list is not asked": without(
        "acting_not_allowed", "release/", "access list does not allow", changes.only_allowing_looks
    ),
    "11: a deletion releases what others allocated, unasked": Broken(
        situation.Situation,
        "is_our_endpoint",
        "return self.has_just",
        "return True or self.has_just",
        "adopted/",
        "without the approval",
    ),
    "11: a deletion releases what somebody else claims": Broken(
        ownership.Ownership,
        "ask",
        "owner = owner_of(claim for claim in claims if claim.metadata.uid != uid)",
        "owner = None",
        "delete/",
        "although orders-cache-again claims",
        changes.claimed_by_an_observer,
    ),
    "3: without the field there is a wish": without(
        "only_observing", "release/", "does not ask for it", changes.without_the_field
    ),
    "5: the operator's wish for an approval of the first contact is not asked": Broken(
        situation.Situation,
        "needs_approval",
        "(policy.needs_approval_at_first_contact and self.is_first_contact)",
        "False",
        "release/",
        "without the approval",
        changes.asking_at_first_contact,
    ),
    "5: the access list's wish for an approval is not asked": Broken(
        situation.Situation,
        "needs_approval",
        "self.context.grant.requires_approval",
        "False",
        "release/",
        "without the approval",
        changes.asking_by_access_list,
    ),
    "5: what could not be withdrawn is released all the same": Broken(
        plan,
        "RULES",
        "publishing_failed",
        "",
        "drain/DELETE-secret.1:before:403",
        "was withdrawn",
    ),
    "12: mode Observe calls": without("only_planned", "release/", "in mode Observe", changes.only_observing),
}
