"""What kubectl, Helm and Flux read out of a status: kstatus' verdict, and the rules that Flux checks itself by.

Ported from sigs.k8s.io/cli-utils ``pkg/kstatus/status`` for kinds that are not
built in, and from fluxcd/pkg ``runtime/conditions/check/fail.go``. It shares no
code with the operator, or both could be wrong together.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

Resource = Mapping[str, Any]

NOT_SEEN: Final = -1
"""status.observedGeneration of a resource that no operator has seen."""
NEGATIVE: Final = ("Reconciling", "Stalled")
"""Conditions of ours that are bad when they are true. Suspended is neither good nor bad."""


class Verdict(StrEnum):
    """How a resource stands, in kstatus' words."""

    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    TERMINATING = "Terminating"


_ABNORMAL: Final[Mapping[object, Verdict]] = {
    ("Reconciling", "True"): Verdict.IN_PROGRESS,
    ("Stalled", "True"): Verdict.FAILED,
}
_READY: Final[Mapping[object, Verdict]] = {
    ("Ready", "True"): Verdict.CURRENT,
    ("Ready", "False"): Verdict.IN_PROGRESS,
    ("Ready", "Unknown"): Verdict.IN_PROGRESS,
}


def verdict(resource: Resource) -> Verdict:
    """Return kstatus' verdict; the order of the questions is its own, and so is believing whoever says nothing."""
    metadata = resource.get("metadata", {})
    if metadata.get("deletionTimestamp"):
        return Verdict.TERMINATING
    generation, observed = metadata.get("generation"), observed_generation(resource)
    if generation is not None and observed is not None and generation != observed:
        return Verdict.IN_PROGRESS
    stated = [(condition.get("type"), condition.get("status")) for condition in _conditions(resource)]
    # Of Reconciling and Stalled the one that is listed first; Ready comes after both wherever it stands.
    for meanings in (_ABNORMAL, _READY):
        for statement in stated:
            if statement in meanings:
                return meanings[statement]
    return Verdict.CURRENT


def observed_generation(resource: Resource) -> int | None:
    """Return the generation that the whole status is about; None when it does not say."""
    found: int | None = resource.get("status", {}).get("observedGeneration")
    return found


def is_observed(resource: Resource) -> bool:
    """Whether the status is about the spec beside it, and not about an older one."""
    return bool(observed_generation(resource) == resource.get("metadata", {}).get("generation"))


def broken_rules(resource: Resource) -> list[str]:
    """Return the names of the rules that a status breaks, in their order.

    They are about a status at rest: between an edit and the pass that follows,
    FAIL0007 is broken by every operator there is.
    """
    return [name for name, is_broken in _RULES.items() if is_broken(resource)]


# --- The rules, by Flux' names; each says whether it is broken ----------------------------------------------------


def _negative_while_ready(resource: Resource) -> bool:
    return _is(resource, "Ready", "True") and any(_is(resource, kind, "True") for kind in NEGATIVE)


def _no_ready(resource: Resource) -> bool:
    return _condition(resource, "Ready") is None


def _ready_while_reconciling(resource: Resource) -> bool:
    # Flux asks for False and nothing else, which FAIL0011 would contradict: there, Unknown asks for Reconciling.
    return _is(resource, "Reconciling", "True") and _is(resource, "Ready", "True")


def _not_unready_while_stalled(resource: Resource) -> bool:
    return _is(resource, "Stalled", "True") and not _no_ready(resource) and not _is(resource, "Ready", "False")


def _reconciling_and_stalled(resource: Resource) -> bool:
    return all(_condition(resource, kind) is not None for kind in NEGATIVE)


def _observed_is_ahead(resource: Resource) -> bool:
    return _observed_or_zero(resource) > _generation(resource)


def _ready_for_an_older_spec(resource: Resource) -> bool:
    return _is(resource, "Ready", "True") and _observed_or_zero(resource) < _generation(resource)


def _ready_on_older_conditions(resource: Resource) -> bool:
    return _is(resource, "Ready", "True") and any(
        condition.get("observedGeneration", 0) < _generation(resource) for condition in _conditions(resource)
    )


def _ready_on_other_conditions(resource: Resource) -> bool:
    return _is(resource, "Ready", "True") and any(
        condition.get("observedGeneration", 0) != _observed_or_zero(resource) for condition in _conditions(resource)
    )


def _unknown_but_not_reconciling(resource: Resource) -> bool:
    # What the CRD's default says before anybody has looked is nobody's fault.
    is_seen = observed_generation(resource) != NOT_SEEN
    return is_seen and _is(resource, "Ready", "Unknown") and not _is(resource, "Reconciling", "True")


_RULES: Final[Mapping[str, Callable[[Resource], bool]]] = {
    "FAIL0001": _negative_while_ready,
    "FAIL0002": _no_ready,
    "FAIL0003": _ready_while_reconciling,
    "FAIL0004": _not_unready_while_stalled,
    "FAIL0005": _reconciling_and_stalled,
    "FAIL0006": _observed_is_ahead,
    "FAIL0007": _ready_for_an_older_spec,
    "FAIL0008": _ready_on_older_conditions,
    "FAIL0009": _ready_on_other_conditions,
    "FAIL0011": _unknown_but_not_reconciling,
}


def _conditions(resource: Resource) -> list[Mapping[str, Any]]:
    return list(resource.get("status", {}).get("conditions", []))


def _condition(resource: Resource, kind: str) -> Mapping[str, Any] | None:
    return next((condition for condition in _conditions(resource) if condition.get("type") == kind), None)


def _is(resource: Resource, kind: str, status: str) -> bool:
    condition = _condition(resource, kind)
    return condition is not None and condition.get("status") == status


def _generation(resource: Resource) -> int:
    return int(resource.get("metadata", {}).get("generation", 0))


def _observed_or_zero(resource: Resource) -> int:
    return observed_generation(resource) or 0
