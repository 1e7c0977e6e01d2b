"""TairInstances of every shape that the CRD allows, and some that it does not.

What the API server would store has to be read, decided on, and reported in a status
that it takes back; what it would refuse is refused by the models as well, or read.
``tests/cluster/test_generated.py`` asks a real API server the same.
"""

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from tair_operator.cluster.resources import _dump, _parse
from tair_operator.fleet import Fleet
from tair_operator.handlers import Approvals, is_moved_in, needs_pass
from tair_operator.listing import Listed
from tair_operator.memory import Memory, ReleaseBudgets
from tair_operator.models import ANNOTATION_APPROVE, ANNOTATION_RECONCILE, FINALIZER, Action, TairInstance
from tair_operator.models import TairInstanceSpec as Spec
from tair_operator.plan import decide, needs_look
from tair_operator.ports import CloudError, ClusterUnavailableError, Observation
from tair_operator.situation import Policy
from tair_operator.status import Look, next_status
from tair_operator.subject import UNSETTLED, target_of
from tests.builders import ID, NOW, REGION, cloud_error, context, observation
from tests.fuzz.schema import contradictions, is_beyond_calendar, mistakes, of_schema, resource_schema, stored
from tests.fuzz.target import Case, Target
from tests.fuzz.text import Json, mutated, scalars, written

LOOKS: dict[str, Observation | CloudError] = {
    "there": observation(True),
    "gone": observation(False),
    "no items": observation(None),
    "busy": observation(True, "Changing"),
    "no instance": observation(missing=True),
    "failed": cloud_error(),
}
MINUTE = 60
AGES = {"absent and Normal": 60.0, "in doubt: op-1": 400.0}

spec_schema, status_schema = (resource_schema()["properties"][part] for part in ("spec", "status"))
valid_specs = of_schema(spec_schema).map(lambda spec: {**spec, "instanceId": ID, "regionId": REGION})
valid_statuses = of_schema(status_schema)
metadata = st.fixed_dictionaries(
    {"generation": st.integers(1, 3)},
    optional={
        "deletionTimestamp": st.just("2026-03-02T11:59:00Z"),
        "finalizers": st.sampled_from([[FINALIZER], ["somebody.else/waits"], [FINALIZER, "somebody.else/waits"]]),
        "annotations": st.dictionaries(
            st.sampled_from([ANNOTATION_APPROVE, ANNOTATION_RECONCILE, "note"]), st.sampled_from(["", "1", "4d1c2e1d"])
        ),
    },
)


def nearly(value: Json) -> st.SearchStrategy[Json]:
    """Return an object with something wrong in it, still an object."""
    return mutated(value, scalars).filter(lambda changed: isinstance(changed, dict))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return a resource, and what a look at its instance shows."""
    spec, status = draw(valid_specs), draw(valid_statuses)
    kind = draw(st.integers(0, 5))
    if kind in {1, 2}:
        spec = draw(nearly(spec))
    if kind in {2, 3}:
        status = draw(nearly(status))
    body = {"metadata": draw(metadata), "spec": spec, "status": status}
    # As it comes from the wire: what Python cannot write is in it by then.
    if kind != 0:
        body = _from_wire(written(body))
    return {**body, "look": draw(st.sampled_from(sorted(LOOKS))), "seen": draw(st.booleans())}


def _from_wire(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError:
        # No JSON: the API server would not take it either, so what is odd in it is only named.
        return json.loads(text.replace("9" * 5000, "9" * 400).replace("\n", " ").replace('"""', '""'))


def refusals(spec: Json, status: Json) -> list[str]:
    """Return what the API server has against it, as far as the CRD says."""
    found = [*mistakes("spec", spec), *mistakes("status", status)]
    return found or contradictions(spec)


def parser_refuses(spec: Json) -> bool:
    """Parse strictly: what the API server stored has the right types, and only then may parsing be lax."""
    try:
        Spec.model_validate_json(json.dumps(spec), strict=True)
    except ValidationError:
        return True
    return False


def check(case: Case) -> None:
    """Read the resource, decide on it, and compose what its status would be."""
    spec, status = stored(spec_schema, case["spec"]), stored(status_schema, case["status"])
    assert parser_refuses(spec) is (mistakes("spec", spec) != [] or 0 < spec.get("resyncSeconds", 0) < MINUTE)
    body = _body(case, spec, status)
    if refusals(spec, status):
        with suppress(ValidationError):
            TairInstance.model_validate(_body(case, case["spec"], case["status"]))
        return
    for kind in (None, "ADDED", "MODIFIED", "DELETED"):
        is_moved_in(kind, body)
        needs_pass(kind, body)
        Approvals().changed(kind, body)
    if is_beyond_calendar(status):
        # The API server takes such a time. Nothing is called for what cannot be read.
        with suppress(ClusterUnavailableError):
            _parse(body)
        return
    read = _parse(body)
    _note(read)
    _decide(case, read, spec)


def _body(case: Case, spec: Json, status: Json) -> dict[str, Json]:
    names = {"name": "orders-cache", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7"}
    created = {"creationTimestamp": "2026-03-01T08:00:00Z"}
    return {"metadata": {**names, **created, **case["metadata"]}, "spec": spec, "status": status}


def _note(read: TairInstance) -> None:
    fleet, memory, budgets = Fleet(lambda: NOW), Memory(timedelta(300)), ReleaseBudgets(1, timedelta(600))
    fleet.note(read)
    memory.note(read, 1.0, is_served=True)
    budgets.note(read)
    fleet.groups()
    assert fleet.oldest_unready() >= 0.0
    assert memory.older_claim(read) is None
    budgets.of(read).wait(NOW, "another")
    Listed.of(read, NOW).until_due(Policy(), NOW)
    target_of(read)


def _decide(case: Case, read: TairInstance, manifest: Json) -> None:
    asked = context(seen=AGES if case["seen"] else {})
    seen = LOOKS[case["look"]] if needs_look(read, asked) else None
    plan = decide(read, seen, asked, NOW)
    operation, spec = read.status.operation, read.spec
    is_over = operation is None or operation.outcome not in UNSETTLED or plan.outcome not in {None, *UNSETTLED}
    if plan.action is not None:
        assert isinstance(seen, Observation)
        assert is_over
        assert spec.suspend is not True
        is_leaving = read.metadata.deletion_timestamp is not None
        assert not is_leaving or spec.deletion_policy == "Release"
        wanted = False if is_leaving else spec.direct_connection
        assert wanted is (plan.action is Action.ALLOCATE)
    look = Look(
        seen if isinstance(seen, Observation) else None,
        seen if isinstance(seen, CloudError) else None,
    )
    status = _dump(next_status(read, plan, look, NOW))
    assert mistakes("status", status) == []
    again = TairInstance.model_validate(_body(case, manifest, status)).status
    assert _dump(again) == status


TARGET = Target("resources", cases(), check, examples=100)
