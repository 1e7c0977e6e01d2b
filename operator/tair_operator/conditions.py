"""Turns a plan into conditions that kstatus, Flux, Helm and kubectl read alike.

Ready is always present. Reconciling, Stalled and Suspended are present only
while they are true, never two of the first two together, and every condition
carries the generation that it is about. A transition time moves only when a
status does.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from tair_operator.models import Condition
from tair_operator.stance import Plan, Stance

OURS = frozenset({"Ready", "Reconciling", "Stalled", "Suspended"})


def next_conditions(current: Iterable[Condition], plan: Plan, generation: int, now: datetime) -> list[Condition]:
    """Return all conditions after a plan: ours as it says, those of other controllers untouched."""
    before = {condition.type: condition for condition in current}
    ready = _condition(before.get("Ready"), "Ready", plan.ready, plan, generation, now)
    if plan.stance is Stance.SUSPENDED and plan.ready == "True" and "Ready" in before:
        # It is still as it was when it was last looked at, and for the same reason.
        ready = ready.model_copy(update={"reason": before["Ready"].reason, "message": before["Ready"].message})
    ours = [ready]
    if plan.stance is not Stance.READY:
        ours.append(_condition(before.get(plan.stance), plan.stance, "True", plan, generation, now))
    return ours + [condition for kind, condition in before.items() if kind not in OURS]


def _condition(
    before: Condition | None,
    kind: str,
    status: Literal["True", "False", "Unknown"],
    plan: Plan,
    generation: int,
    now: datetime,
) -> Condition:
    is_same = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and is_same else now,
        reason=plan.reason,
        message=plan.message,
    )
