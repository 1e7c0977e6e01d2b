"""When a call that failed is made again: its cause may have gone, and nobody hammers the cloud.

Two rules of ``plan.RULES``. An edit of the manifest or the reconcile annotation
ends the long pauses, but never the few seconds after a refusal.
"""

from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from tair_operator.models import ANNOTATION_RECONCILE, Action, Operation, Outcome, Reason
from tair_operator.ports import ErrorClass
from tair_operator.proposal import is_lapsed, known_plan, proposed
from tair_operator.situation import Situation
from tair_operator.stance import Plan, backoff, blocked, lasting, pause, stall

REFUSAL_PAUSE = timedelta(seconds=5)
"""A call that was refused is not repeated sooner."""
BACKOFF_MAX = timedelta(minutes=10)
NOT_SENT_PAUSE, NOT_SENT_PAUSE_MAX = timedelta(seconds=1), timedelta(minutes=1)
UNSETTLED_RELEASES_MAX = 3


def call_refused_before(s: Situation) -> Plan | None:
    """A call that was refused is repeated when its cause may have gone, and not sooner."""
    last = s.previous_attempt
    if last is None:
        return None
    # An edit or a request ends the long pauses, but nobody hammers the cloud by editing.
    attempt = 1 if s.is_asked_anew else last.attempt
    if last.outcome is Outcome.NOT_SENT:
        # With a code it was the cloud that could not be reached, without one it was Kubernetes that took too long.
        reason = Reason.CLOUD_UNREACHABLE if last.code else Reason.PENDING
        message = f"{last.action} was not sent: {lasting(last.message)}"
        return pause(s, last, reason, message, backoff(NOT_SENT_PAUSE, attempt, NOT_SENT_PAUSE_MAX))
    if s.context.refusal is None:
        return None
    error_class, reason = _meaning_now(*s.context.refusal)
    message = f"{last.action} was refused with {last.code}: {lasting(last.message)}"
    if last.outcome is Outcome.FAILED and error_class not in {ErrorClass.BLOCKED, ErrorClass.INVALID}:
        # It was watched for the settling time, which is pause enough.
        return None
    match error_class:
        case ErrorClass.BUSY:
            return pause(s, last, reason, message, backoff(REFUSAL_PAUSE, attempt, BACKOFF_MAX / 2))
        case ErrorClass.TRANSIENT:
            return pause(s, last, reason, message, backoff(REFUSAL_PAUSE, attempt, BACKOFF_MAX))
        case ErrorClass.CONFIRM:
            message = f"{last.action} was answered with {last.code}, but a look shows otherwise; looking again"
            return pause(s, last, Reason.OUTCOME_UNKNOWN, message, s.context.policy.settle)
        case ErrorClass.BLOCKED | ErrorClass.INVALID:
            if s.is_asked_anew:
                return pause(s, last, reason, message, REFUSAL_PAUSE)
            return _until_lapsed(s, blocked(s, last, reason, message), reason, message)
        case _:
            assert_never(error_class)


def releases_without_effect(s: Situation) -> Plan | None:
    """After three releases that had no visible effect a person has to look."""
    last = s.previous_attempt
    if last is None or last.action is not Action.RELEASE or s.is_asked_anew:
        return None
    failed = [
        operation
        for operation in s.resource.status.history
        if operation.outcome is Outcome.FAILED and _is_same_attempt(operation, last) and operation.id != last.id
    ]
    count = len(failed) + (last.outcome is Outcome.FAILED)
    if count < UNSETTLED_RELEASES_MAX:
        return None
    message = (
        f"{count} calls of {last.action} had no visible effect. Look at the instance in the console, then set "
        f"annotation {ANNOTATION_RECONCILE} to a new value to try again"
    )
    return stall(s, Reason.OUTCOME_UNKNOWN, message)


def _until_lapsed(s: Situation, plan: Plan | None, reason: Reason, message: str) -> Plan | None:
    """A release is repeated only while its plan lasts: a manifest of last week must not cut clients off today."""
    if s.needed_action is not Action.RELEASE:
        return plan
    # The endpoint is published meanwhile: nobody knows when the cause will be gone.
    planned = (known_plan(s) or proposed(s, reason)).model_copy(update={"reason": reason, "withdrawn_at": None})
    if is_lapsed(s, planned):
        advice = f"Its plan has lapsed; set annotation {ANNOTATION_RECONCILE} to a new value to try again"
        return replace(stall(s, reason, f"{message.rstrip('.')}. {advice}"), planned=planned)
    return None if plan is None else replace(plan, planned=planned)


def _meaning_now(error_class: ErrorClass, reason: Reason) -> tuple[ErrorClass, Reason]:
    """The look of this pass was let in, so whatever was wrong with the credentials of the call is over."""
    is_over = reason in {Reason.CREDENTIALS_INVALID, Reason.CREDENTIALS_UNAVAILABLE}
    return (ErrorClass.TRANSIENT, reason) if is_over else (error_class, reason)


def _is_same_attempt(one: Operation, other: Operation) -> bool:
    return one.action is other.action and one.generation == other.generation
