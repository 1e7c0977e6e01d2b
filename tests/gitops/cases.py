"""Resources as the operator leaves them, and what each GitOps tool has to make of them.

The statuses are not written by hand: ``decide`` and ``next_status`` make them, row by row of the table of conditions.
Only what the API server or a user does to a resource (the default, an edit, a deletion) is added to them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tair_operator.models import Outcome, TairInstance, TairInstanceStatus
from tair_operator.plan import decide
from tair_operator.ports import CloudError, Observation
from tair_operator.situation import Context, Policy, Verb
from tair_operator.status import Look, next_status
from tests.builders import (
    GONE,
    NOW,
    THERE,
    cloud_error,
    context,
    observation,
    operation,
    ready_status,
    resource,
    status,
)
from tests.kstatus import Verdict

Fixture = dict[str, Any]
GENERATION: Final = 3
ROOT: Final = Path(__file__).parents[2]
REQUIRED: Final = {"approval": "Required"}
CLOSED_WINDOW: Final = {"window": "Maintenance"}


@dataclass(frozen=True)
class Expected:
    """The verdict of each engine, and the actions that Argo CD offers."""

    kstatus: Verdict
    argo: str
    flux: str = ""
    """Only where the expressions say something else than kstatus."""
    offers: frozenset[str] = field(default=frozenset({"reconcile", "suspend"}))


READY: Final = Expected(Verdict.CURRENT, "Healthy")
WORKING: Final = Expected(Verdict.IN_PROGRESS, "Progressing")
STALLED: Final = Expected(Verdict.FAILED, "Degraded")
TO_APPROVE: Final = Expected(Verdict.FAILED, "Degraded", offers=frozenset({"approve", "reconcile", "suspend"}))
RESUME: Final = frozenset({"resume"})


def after_a_pass(
    wanted: TairInstance, observed: Observation | CloudError | None, given: Context | None = None
) -> Fixture:
    """Return the resource as the API server has it after the operator has passed."""
    plan = decide(wanted, observed, given or context(), NOW)
    look = Look(error=observed) if isinstance(observed, CloudError) else Look(observed)
    return never_seen(wanted) | {"status": written(next_status(wanted, plan, look, NOW))}


def never_seen(wanted: TairInstance) -> Fixture:
    """Return a resource without any status, in the form of the API server."""
    made: Fixture = wanted.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"status"})
    return made | {"apiVersion": "tair.alibabacloud.com/v1alpha1", "kind": "TairInstance"}


def written(made: TairInstanceStatus) -> Fixture:
    """Return a status in the form of the API server."""
    fields: Fixture = made.model_dump(mode="json", by_alias=True, exclude_none=True)
    return fields


def default_status() -> Fixture:
    """Return what the API server shows for a status that nobody has written."""
    definition = yaml.safe_load((ROOT / "crds/tairinstances.yaml").read_text())
    found: Fixture = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    return found


def edited(before: Fixture) -> Fixture:
    """Return the resource right after an edit that the operator has not seen."""
    return before | {"metadata": before["metadata"] | {"generation": GENERATION + 1}}


def deleted(before: Fixture) -> Fixture:
    """Return the resource while a finalizer holds it."""
    return before | {"metadata": before["metadata"] | {"deletionTimestamp": "2026-03-02T12:00:00Z"}}


def half_stale(before: Fixture) -> Fixture:
    """Return what no version of the operator writes: the status is about this manifest, its conditions are not."""
    conditions = [one | {"observedGeneration": GENERATION - 1} for one in before["status"]["conditions"]]
    return before | {"status": before["status"] | {"conditions": conditions}}


def wants(direct_connection: bool | None = False, **more: Any) -> TairInstance:  # noqa: ANN401, FBT001, FBT002
    """Return a resource of the generation that all rows have."""
    return resource(direct_connection, generation=GENERATION, **more)


def settled(direct_connection: bool | None = False, **more: Any) -> TairInstance:  # noqa: ANN401, FBT001, FBT002
    """Return a resource whose wanted value was reached earlier."""
    return wants(direct_connection, status=ready_status(direct_connection, generation=GENERATION), **more)


DONE: Final = after_a_pass(settled(), GONE)
WAITS: Final = after_a_pass(wants(release=REQUIRED), THERE)
SUSPENDED: Final = after_a_pass(wants(suspend=True), None)
NOT_ALLOWED: Final = frozenset({Verb.OBSERVE})

CASES: Final[dict[str, tuple[Fixture, Expected]]] = {
    "released, as wanted": (DONE, READY),
    "allocated, as wanted": (after_a_pass(settled(True), THERE), READY),
    "reached, and busy for other reasons": (after_a_pass(settled(), observation(False, "Changing")), READY),
    "only observed": (after_a_pass(wants(None), THERE), READY),
    "an observation failed after Ready": (after_a_pass(settled(), cloud_error()), READY),
    "about to release": (after_a_pass(wants(), THERE), WORKING),
    "about to allocate": (after_a_pass(wants(True), GONE, context(seen={"absent and Normal": 5})), WORKING),
    "busy before the call": (after_a_pass(wants(), observation(True, "Changing")), WORKING),
    "unknown outcome": (
        after_a_pass(wants(status=status(operation=operation(outcome=Outcome.UNKNOWN), generation=GENERATION)), THERE),
        WORKING,
    ),
    "waits for its window": (after_a_pass(wants(release=CLOSED_WINDOW), THERE), WORKING),
    "drains": (after_a_pass(wants(release={"drainSeconds": 60}), THERE), WORKING),
    "planned in mode Observe": (after_a_pass(wants(), THERE, context(policy=Policy(is_observing_only=True))), WORKING),
    "releases are held": (after_a_pass(wants(), THERE, context(held=True)), WORKING),
    "throttled": (after_a_pass(wants(), cloud_error("Throttling.User")), WORKING),
    "cloud unreachable": (after_a_pass(wants(), cloud_error()), WORKING),
    "no observation for long after Ready": (
        after_a_pass(settled(), cloud_error(), context(seen={"ready but not seen": 9e5})),
        WORKING,
    ),
    "not allowed, in the grace": (after_a_pass(wants(), THERE, context(verbs=NOT_ALLOWED)), WORKING),
    "not allowed, after it": (
        after_a_pass(wants(), THERE, context(verbs=NOT_ALLOWED, seen={"trouble: AccessNotAllowed": 120})),
        STALLED,
    ),
    "not eligible": (after_a_pass(wants(), observation(True, architecture_type="standard")), STALLED),
    "drift is only reported": (after_a_pass(settled(), THERE), STALLED),
    "approval needed": (WAITS, TO_APPROVE),
    "suspended, unsatisfied": (SUSPENDED, Expected(Verdict.IN_PROGRESS, "Suspended", offers=RESUME)),
    "suspended, satisfied": (
        after_a_pass(settled(suspend=True), None),
        Expected(Verdict.CURRENT, "Suspended", offers=RESUME),
    ),
    # kstatus alone would call it ready, and the expressions of Flux cannot be evaluated: why the CRD has a default.
    "no status at all": (never_seen(wants()), Expected(Verdict.CURRENT, "Progressing", flux="Error")),
    "the default of the CRD": (never_seen(wants()) | {"status": default_status()}, WORKING),
    "edited since it was ready": (edited(DONE), WORKING),
    "edited while it waited for approval": (edited(WAITS), WORKING),
    "its conditions are of an older manifest": (
        half_stale(DONE),
        Expected(Verdict.CURRENT, "Progressing", flux="InProgress"),
    ),
    "being deleted": (deleted(DONE), Expected(Verdict.TERMINATING, "Progressing", flux="Current")),
}
