"""Turns a plan into conditions that kstatus, Flux, Helm and kubectl read alike.

Ready is always present. Reconciling, Stalled and Suspended are present only
while they are true, never two of the first two together, and every condition
carries the generation that it is about. A transition time moves only when a
status does.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from tair_operator.models import Condition, ConnectionState, DirectConnectionStatus, EndpointSpec, Reason
from tair_operator.stance import Plan, Stance

OURS = frozenset({"Ready", "Reconciling", "Stalled", "Suspended", "EndpointMatches"})


def next_conditions(
    current: Iterable[Condition], plan: Plan, generation: int, now: datetime, differences: list[str] | None = None
) -> list[Condition]:
    """Return all conditions after a plan: ours as it says, those of other controllers untouched.

    ``differences`` says where the live endpoint is not as the spec asks; None where there is nothing to compare.
    """
    before = {condition.type: condition for condition in current}
    ready = _condition(before.get("Ready"), "Ready", plan.ready, plan, generation, now)
    if plan.stance is Stance.SUSPENDED and plan.ready == "True" and "Ready" in before:
        # It is still as it was when it was last looked at, and for the same reason.
        ready = ready.model_copy(update={"reason": before["Ready"].reason, "message": before["Ready"].message})
    ours = [ready]
    if plan.stance is not Stance.READY:
        ours.append(_condition(before.get(plan.stance), plan.stance, "True", plan, generation, now))
    if differences is not None:
        ours.append(_endpoint_matches(before.get("EndpointMatches"), differences, generation, now))
    return ours + [condition for kind, condition in before.items() if kind not in OURS]


def differences(wanted: EndpointSpec | None, live: DirectConnectionStatus) -> list[str] | None:
    """Say where the live endpoint is not as the spec asks; None where one of the two is not there."""
    if wanted is None or live.state is not ConnectionState.ALLOCATED or live.host is None:
        return None
    prefix, found = live.host.partition(".")[0], []
    if wanted.prefix is not None and wanted.prefix != prefix:
        found.append(f"its prefix is {prefix} and not {wanted.prefix}")
    if wanted.port is not None and wanted.port != live.port:
        found.append(f"its port is {live.port} and not {wanted.port}")
    return found


def _endpoint_matches(before: Condition | None, found: list[str], generation: int, now: datetime) -> Condition:
    message = "The live endpoint is as spec.endpoint asks"
    if found:
        message = (
            f"The live endpoint is not as spec.endpoint asks: {' and '.join(found)}. It is not moved; only the next "
            "allocation takes spec.endpoint into account"
        )
    status: Literal["True", "False"] = "False" if found else "True"
    is_same = before is not None and before.status == status
    return Condition(
        type="EndpointMatches",
        status=status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and is_same else now,
        reason=Reason.ENDPOINT_DIFFERS if found else Reason.ENDPOINT_MATCHES,
        message=message,
    )


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
