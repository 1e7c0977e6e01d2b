"""Counts every request to the cloud, once, by what became of it.

An endpoint may answer with any code it likes, so a code is counted by its row in
the table of errors, and as Other where there is none.
"""

from tair_operator.aliyun import errors
from tair_operator.metrics import OTHER, own
from tair_operator.models import Action
from tair_operator.ports import Effect

OK, CANCELLED = "OK", "Cancelled"
ANSWERED, REJECTED, UNKNOWN, NOT_SENT = "answered", "rejected", "unknown", "not_sent"

_NO_USABLE_ANSWER = {errors.NO_ANSWER, errors.UNREADABLE_ANSWER, errors.REDIRECTED, CANCELLED}
_MUTATING = frozenset(Action)


def count_request(
    action: str, seconds: float, code: str, *, http_status: int | None = None, is_sent: bool = True
) -> None:
    """Count one request; ``code`` is OK, CANCELLED, or that of the error that it ended with."""
    if code == OK:
        label, outcome = OK, ANSWERED
    else:
        row = errors.classify(code, http_status)
        label = OTHER if row.code == errors.UNLISTED.code else row.code
        outcome = _outcome(action, code, row.effect, is_sent=is_sent)
    own.cloud_requests.labels(action, label, outcome).inc()
    if is_sent:
        own.cloud_request_seconds.labels(action).observe(seconds)


def _outcome(action: str, code: str, effect: Effect, *, is_sent: bool) -> str:
    if not is_sent:
        return NOT_SENT
    # A question has no effect, so whatever the cloud answers is an answer.
    may_have_effect = effect is Effect.POSSIBLE and action in _MUTATING
    return UNKNOWN if code in _NO_USABLE_ANSWER or may_have_effect else REJECTED
