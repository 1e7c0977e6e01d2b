"""When the endpoint is published, withdrawn, or left as it is: never published in doubt, never withdrawn unseen."""

# ruff: noqa: ANN401 - what is not named goes on to a builder

from dataclasses import replace
from typing import Any

import pytest

from tair_operator.models import (
    Action,
    ConnectionState,
    CredentialsSpec,
    DirectConnectionStatus,
    DriftPolicy,
    Outcome,
    PlanStatus,
    PublishedStatus,
    PublishSpec,
    Reason,
    ReleaseSpec,
    TairInstance,
)
from tair_operator.plan import decide
from tair_operator.ports import CloudError, Observation, Place, Principal, PrincipalKind, Target
from tair_operator.situation import Context, Verb
from tair_operator.stance import Publication
from tair_operator.status import Look, endpoint_to_publish, next_status
from tair_operator.subject import places_of, target_of
from tests.builders import (
    ALLOCATED,
    ALLOCATING,
    CHANGING,
    GONE,
    HOST,
    ID,
    NOW,
    PORT,
    PROXY,
    REGION,
    RELEASED,
    RELEASING,
    THERE,
    UNKNOWN,
    Case,
    ago,
    cloud_error,
    context,
    endpoint,
    observation,
    only,
    operation,
    planned,
    ready_status,
    reconciling,
    resource,
    seconds,
    stalled,
    status,
)

KEEP, PUBLISH, WITHDRAW = Publication.KEEP, Publication.PUBLISH, Publication.WITHDRAW
ORDERS = PublishSpec(secret_name="orders")
AT_ORDERS = PublishedStatus(secret_name="orders")
TWICE_GONE = context(seen={"absent and Normal": 5})
DRAINING = planned(Reason.DRAINING, withdrawn_at=ago(20))
NOT_SAID = observation(None)
NO_HOST, NO_PORT = (observation(endpoints=(PROXY, found)) for found in (endpoint(""), endpoint(port=None)))


def publishing(wanted: bool | None = True, state: Any = ALLOCATED, **more: Any) -> TairInstance:  # noqa: FBT001, FBT002
    """Return a resource whose endpoint is to be published in a Secret."""
    spec = {"publish": ORDERS} | more.pop("spec", {})
    return resource(wanted, status=status(state, **more), **spec)


def suspended(state: Any = ALLOCATED, plan: PlanStatus | None = DRAINING, **more: Any) -> TairInstance:
    return publishing(False, state, plan=plan, spec={"suspend": True}, **more)


def stranger(action: Action, age: float = 9) -> Context:
    return context(stranger=(operation(action, id="strange"), seconds(age)))


HELD = context(held=True)
STATES: dict[str, tuple[TairInstance, Observation | CloudError | None, Context, Publication]] = {
    # Published while it can be used …
    "an endpoint that is wanted is published": (publishing(), THERE, context(), PUBLISH),
    "an endpoint that is only observed is published": (publishing(None), THERE, context(), PUBLISH),
    "an endpoint at first sight is published": (publishing(state=None), THERE, context(), PUBLISH),
    "an endpoint whose release waits is published": (publishing(False), THERE, HELD, PUBLISH),
    "an endpoint that may only be looked at is published": (publishing(False), THERE, only(Verb.OBSERVE), PUBLISH),
    "an endpoint that was allocated before is published while the instance is busy": (
        publishing(),
        CHANGING,
        context(),
        PUBLISH,
    ),
    "an endpoint whose allocation has just ended is published": (
        publishing(state=ALLOCATING, operation=operation(Action.ALLOCATE)),
        THERE,
        context(),
        PUBLISH,
    ),
    "an endpoint whose release had no effect is published": (
        publishing(False, RELEASING, operation=operation()),
        THERE,
        context(seen={"in doubt: op-1": 300, "unchanged: op-1": 5}, held=True),
        PUBLISH,
    ),
    "an endpoint that somebody released is published no more at the second look": (
        publishing(spec={"drift_policy": DriftPolicy.REPORT}, reached=True),
        GONE,
        TWICE_GONE,
        WITHDRAW,
    ),
    # … and absent where it cannot.
    "an endpoint that is being allocated is not published yet": (
        publishing(state=ALLOCATING, operation=operation(Action.ALLOCATE)),
        CHANGING,
        context(),
        KEEP,
    ),
    "an endpoint at first sight of a busy instance is not published yet": (
        publishing(state=None),
        CHANGING,
        context(),
        KEEP,
    ),
    "an endpoint without a host is not published": (publishing(), NO_HOST, context(), KEEP),
    "an endpoint without a port is not published": (publishing(), NO_PORT, context(), KEEP),
    "an endpoint that somebody allocated against the manifest is not published": (
        publishing(False, RELEASED, reached=False),
        THERE,
        context(),
        KEEP,
    ),
    "an endpoint that is released is withdrawn": (
        publishing(False, RELEASED, reached=False),
        GONE,
        context(),
        WITHDRAW,
    ),
    "an endpoint that is to be allocated again is withdrawn": (publishing(state=RELEASED), GONE, context(), WITHDRAW),
    "an endpoint is withdrawn when our release has ended": (
        publishing(False, RELEASING, operation=operation()),
        GONE,
        context(),
        WITHDRAW,
    ),
    "an endpoint is withdrawn before its release": (publishing(False), THERE, context(), WITHDRAW),
    "an endpoint stays withdrawn while it drains": (
        publishing(False, plan=DRAINING, spec={"release": ReleaseSpec(drain_seconds=60)}),
        THERE,
        context(),
        WITHDRAW,
    ),
    "an endpoint stays withdrawn in the pass that releases it": (
        publishing(False, plan=DRAINING),
        THERE,
        context(),
        WITHDRAW,
    ),
    "an endpoint stays withdrawn while it drains and looks fail": (
        publishing(False, plan=DRAINING),
        cloud_error(),
        context(),
        WITHDRAW,
    ),
    # Nothing is withdrawn on a look that shows nothing.
    "nothing is withdrawn at the first look that shows no endpoint": (publishing(), GONE, context(), KEEP),
    "nothing is withdrawn on a reply that says nothing": (publishing(), NOT_SAID, context(), KEEP),
    "nothing is withdrawn on a known host without its flag": (
        publishing(),
        observation(endpoints=(PROXY, endpoint(direct=None))),
        context(),
        KEEP,
    ),
    "nothing is withdrawn when a look fails": (publishing(), cloud_error(), context(), KEEP),
    "nothing is withdrawn when the instance is not listed": (publishing(), observation(missing=True), context(), KEEP),
    "nothing is withdrawn when absence is seen on a busy instance": (
        publishing(),
        observation(False, "Changing"),
        context(),
        KEEP,
    ),
    "nothing is withdrawn by somebody who may not look": (publishing(), None, only(), KEEP),
    # Nothing is published in doubt.
    "nothing is published while a release is under way": (
        publishing(False, RELEASING, operation=operation()),
        THERE,
        context(),
        KEEP,
    ),
    "nothing is published while a release is in doubt, whatever is wanted now": (
        publishing(True, UNKNOWN, operation=operation(outcome=Outcome.UNKNOWN)),
        THERE,
        context(),
        KEEP,
    ),
    "nothing is published while a namesake's release may still take effect": (
        publishing(),
        THERE,
        stranger(Action.RELEASE),
        KEEP,
    ),
    "nothing is published while a namesake's release is under way": (
        publishing(),
        CHANGING,
        stranger(Action.RELEASE),
        KEEP,
    ),
    "a namesake's release that took effect is withdrawn": (
        publishing(state=RELEASED),
        GONE,
        stranger(Action.RELEASE),
        WITHDRAW,
    ),
    "a namesake's release that is older than the settling time is over": (
        publishing(),
        THERE,
        stranger(Action.RELEASE, 300),
        PUBLISH,
    ),
    "a namesake's allocation is no danger": (publishing(), THERE, stranger(Action.ALLOCATE), PUBLISH),
    # Suspended: nothing is looked at.
    "a suspended resource leaves things as they are": (suspended(plan=None), None, context(), KEEP),
    "a suspended resource leaves things as they are while a release waits": (
        suspended(plan=planned(Reason.WAITING_FOR_WINDOW)),
        None,
        context(),
        KEEP,
    ),
    "a resource that is suspended while it drains publishes again": (suspended(), None, context(), PUBLISH),
    "a resource that is suspended during its release does not publish again": (
        suspended(RELEASING, operation=operation()),
        None,
        context(),
        KEEP,
    ),
    "a resource that is suspended after an intent without an answer does not publish again": (
        suspended(RELEASING, operation=operation(outcome=Outcome.STARTED)),
        None,
        context(),
        KEEP,
    ),
    "a resource that is suspended after a refusal publishes again": (
        suspended(RELEASING, operation=operation(outcome=Outcome.REJECTED)),
        None,
        context(),
        PUBLISH,
    ),
    "a resource that is suspended while its namesake's release is under way does not publish again": (
        suspended(),
        None,
        stranger(Action.RELEASE),
        KEEP,
    ),
    "a suspended resource that knows no address publishes none": (suspended(RELEASED), None, context(), KEEP),
    "a suspended resource that was never read publishes nothing": (suspended(None), None, context(), KEEP),
    # What could not be done is not done again in the same pass.
    "what could not be published is left as it is": (publishing(), THERE, context(unpublished="No."), KEEP),
    "what could not be withdrawn is left as it is": (publishing(False), THERE, context(unpublished="No."), KEEP),
    # Nobody asked.
    "nothing is published where nobody asks for it": (
        resource(True, status=ready_status(True)),
        THERE,
        context(),
        KEEP,
    ),
    "what the spec publishes no longer is withdrawn with the next good look": (
        resource(True, status=ready_status(True, published=AT_ORDERS)),
        THERE,
        context(),
        PUBLISH,
    ),
}


@pytest.mark.parametrize("sentence", STATES)
def test_decides(sentence: str) -> None:
    made, seen, asked, expected = STATES[sentence]

    assert decide(made, seen, asked, NOW).publication is expected


# --- What could not be written ---

NOT_OURS = "Secret orders exists already and is not this resource's own"
UNPUBLISHED = reconciling(Reason.PUBLISH_FAILED, NOT_OURS, ALLOCATED, seconds(15), "trouble: PublishFailed")
REFUSED = {
    "an endpoint that could not be published waits out the grace": Case(
        publishing(), UNPUBLISHED, context=context(unpublished=NOT_OURS)
    ),
    "an endpoint that could not be published stalls after the grace, and is tried again every minute": Case(
        publishing(),
        stalled(Reason.PUBLISH_FAILED, NOT_OURS, ALLOCATED, "trouble: PublishFailed", requeue_after=seconds(60)),
        context=context(unpublished=NOT_OURS, seen={"trouble: PublishFailed": 120}),
    ),
    "an endpoint that could not be withdrawn is not released": Case(
        publishing(False), UNPUBLISHED, context=context(unpublished=NOT_OURS)
    ),
    "a release that waits keeps its plan while the endpoint could not be published": Case(
        publishing(False, plan=planned(Reason.APPROVAL_REQUIRED), spec={"release": ReleaseSpec(approval="Required")}),
        reconciling(
            Reason.PUBLISH_FAILED,
            NOT_OURS,
            ALLOCATED,
            seconds(15),
            "trouble: PublishFailed",
            planned=planned(Reason.APPROVAL_REQUIRED),
        ),
        context=context(unpublished=NOT_OURS),
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_could_not_be_written_is_said(sentence: str) -> None:
    case = REFUSED[sentence]

    assert decide(case.resource, case.observed, case.context, NOW) == case.plan


# --- What status shows of it ---

ORDERS_SECRET = Place("Secret", "orders")


@pytest.mark.parametrize(
    ("made", "places", "published", "binding"),
    [
        pytest.param(publishing(), {ORDERS_SECRET}, AT_ORDERS, "orders", id="published"),
        pytest.param(
            publishing(), {Place("ConfigMap", "c")}, PublishedStatus(config_map_name="c"), None, id="no binding"
        ),
        pytest.param(
            publishing(spec={"publish": PublishSpec(secret_name="renamed")}),
            {ORDERS_SECRET, Place("Secret", "renamed")},
            PublishedStatus(secret_name="renamed"),
            "renamed",
            id="renamed, and the old one still there",
        ),
        pytest.param(publishing(published=AT_ORDERS), set(), None, None, id="withdrawn"),
        pytest.param(publishing(published=AT_ORDERS), None, AT_ORDERS, "orders", id="not carried out"),
    ],
)
def test_status_names_where_the_endpoint_is_published(
    made: TairInstance, places: set[Place] | None, published: PublishedStatus | None, binding: str | None
) -> None:
    plan = decide(made, THERE, context(), NOW)
    carried_out = replace(plan, published=None if places is None else frozenset(places))
    status_after = next_status(made, carried_out, Look(THERE), NOW)

    assert status_after.published == published
    assert (status_after.binding and status_after.binding.name) == binding


@pytest.mark.parametrize(
    ("published", "places"),
    [
        (None, set()),
        (PublishSpec(), set()),
        (ORDERS, {Place("Secret", "orders")}),
        (PublishedStatus(config_map_name="a"), {Place("ConfigMap", "a")}),
        (
            PublishSpec(secret_name="same", config_map_name="same"),
            {Place("Secret", "same"), Place("ConfigMap", "same")},
        ),
    ],
)
def test_a_place_is_a_kind_and_a_name(published: PublishSpec | PublishedStatus | None, places: set[Place]) -> None:
    assert places_of(published) == places


KNOWN = DirectConnectionStatus(state=ConnectionState.ALLOCATED, host="known", port=7000)


@pytest.mark.parametrize(
    ("known", "seen", "live"),
    [
        (None, THERE, (HOST, PORT)),
        (KNOWN, THERE, (HOST, PORT)),
        (KNOWN, None, ("known", 7000)),
        (None, None, ("", 0)),
        (KNOWN, GONE, ("", 0)),
        (KNOWN, NO_PORT, (HOST, 0)),
        (KNOWN.model_copy(update={"host": None, "port": None}), None, ("", 0)),
    ],
)
def test_the_address_is_that_of_the_look_or_else_the_last_one(
    known: DirectConnectionStatus | None, seen: Observation | None, live: tuple[str, int]
) -> None:
    made = resource(True, status=status().model_copy(update={"direct_connection": known}))

    assert endpoint_to_publish(made, Look(seen)) == live


@pytest.mark.parametrize(
    ("credentials", "principal"),
    [
        (None, None),
        (CredentialsSpec(), None),
        (CredentialsSpec(secret_name="own"), Principal("shop", PrincipalKind.SECRET, "own")),
        (CredentialsSpec(service_account_name="own"), Principal("shop", PrincipalKind.SERVICE_ACCOUNT, "own")),
    ],
)
def test_what_a_resource_names_is_beside_it(credentials: CredentialsSpec | None, principal: Principal | None) -> None:
    assert target_of(resource(credentials=credentials)) == Target(ID, REGION, principal)
