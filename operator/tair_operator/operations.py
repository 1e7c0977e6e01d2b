"""The life of one mutating call: announced, answered, settled, remembered.

Each function takes an operation and returns what has become of it. ``reconcile``
stores the first two at once, because the safety of a release rests on them;
``status`` stores the rest with what else a pass has to say.
"""

from datetime import datetime

from tair_operator.models import Action, Operation, Outcome, TairInstance
from tair_operator.ports import Answer, CloudError, Effect, Event, Instance
from tair_operator.subject import UNSETTLED, kind_of

HISTORY_MAX = 5


def announce(
    resource: TairInstance,
    action: Action,
    now: datetime,
    *,
    new_id: str,
    corrects_drift: bool,
    instance: Instance | None = None,
) -> Operation:
    """Return the intent: the next attempt, under an id that was never used."""
    return Operation(
        id=new_id,
        action=action,
        generation=resource.metadata.generation,
        attempt=_attempt(resource, action),
        drift=True if corrects_drift else None,
        instance=None if instance is None else kind_of(instance),
        started_at=now,
        outcome=Outcome.STARTED,
    )


def accepted(operation: Operation, answer: Answer) -> Operation:
    """The cloud acknowledged the call. Whether it had an effect is to be seen."""
    update = {"outcome": Outcome.ACCEPTED, "request_id": answer.request_id, "http_status": answer.http_status}
    return operation.model_copy(update=update)


def failed(operation: Operation, error: CloudError, now: datetime) -> Operation:
    """The call was not acknowledged. What may have taken effect all the same is Unknown, and not over."""
    if not error.sent:
        outcome = Outcome.NOT_SENT
    elif error.effect is Effect.POSSIBLE:
        outcome = Outcome.UNKNOWN
    else:
        outcome = Outcome.REJECTED
    update = {
        "outcome": outcome,
        "finished_at": None if outcome is Outcome.UNKNOWN else now,
        "request_id": error.request_id,
        "http_status": error.http_status,
        "code": error.code,
        "message": error.message,
    }
    return operation.model_copy(update=update)


def not_sent(operation: Operation, now: datetime, why: str) -> Operation:
    """Not one byte of the call left, so it certainly had no effect."""
    return operation.model_copy(update={"outcome": Outcome.NOT_SENT, "finished_at": now, "message": why})


def settled(operation: Operation | None, outcome: Outcome | None, now: datetime) -> Operation | None:
    """Return the operation with the outcome that was decided, if one was."""
    if operation is None or outcome is None:
        return operation
    update: dict[str, object] = {"outcome": outcome}
    if outcome not in UNSETTLED:
        update["finished_at"] = now
        if operation.http_status is None:
            seen = "its effect was seen" if outcome is Outcome.SUCCEEDED else "no effect was seen"
            update["message"] = f"No answer was recorded; {seen}"
    return operation.model_copy(update=update)


def event_of(operation: Operation) -> Event:
    """Say what came back from a call in the words of a Kubernetes Event."""
    is_fine = operation.outcome is Outcome.ACCEPTED
    request = f" (RequestId {operation.request_id})" if operation.request_id else ""
    what = "" if is_fine else "".join(f": {part}" for part in (operation.code, operation.message) if part)
    return Event("Normal" if is_fine else "Warning", operation.action, f"{operation.outcome}{request}{what}")


def remembered(history: list[Operation], last: Operation | None) -> list[Operation]:
    """Put a finished operation in front; a failure just like the one before takes its place."""
    if last is None or last.finished_at is None or any(operation.id == last.id for operation in history):
        return history
    rest = history[1:] if history and _is_repeated_failure(history[0], last) else history
    return [last, *rest][:HISTORY_MAX]


def _attempt(resource: TairInstance, action: Action) -> int:
    last = resource.status.operation
    is_repetition = (
        last is not None
        and last.action is action
        and last.generation == resource.metadata.generation
        and last.outcome is not Outcome.SUCCEEDED
    )
    return last.attempt + 1 if last is not None and is_repetition else 1


def _is_repeated_failure(one: Operation, other: Operation) -> bool:
    def essence(operation: Operation) -> tuple[object, ...]:
        return operation.outcome, operation.action, operation.generation, operation.code

    return one.outcome in {Outcome.REJECTED, Outcome.NOT_SENT} and essence(one) == essence(other)
