"""Counts every request to the cloud, once, by what became of it.

An endpoint may answer with any code it likes, so a code is counted by its row in
the table of errors, and as Other where there is none.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tair_operator.aliyun import errors
from tair_operator.metrics import OTHER, own
from tair_operator.models import Action
from tair_operator.ports import CloudError, Effect

logger = logging.getLogger(__name__)

OK, CANCELLED = "OK", "Cancelled"
ANSWERED, REJECTED, UNKNOWN, NOT_SENT = "answered", "rejected", "unknown", "not_sent"

_NO_USABLE_ANSWER = {errors.NO_ANSWER, errors.UNREADABLE_ANSWER, errors.REDIRECTED, CANCELLED}
_MUTATING = frozenset(Action)


@dataclass(slots=True)
class Request:
    """A request, and what has become of it: cancelled, unless somebody says otherwise."""

    code: str = CANCELLED
    http_status: int | None = None
    request_id: str | None = None

    @property
    def is_sent(self) -> bool:
        """Whether a byte of it left. An endpoint that answers with this code has answered all the same."""
        return self.code != errors.CONNECTION_FAILED or self.http_status is not None


@contextmanager
def counted(action: str, host: str, monotonic: Callable[[], float]) -> Iterator[Request]:
    """Count and log the one request that is made inside. A CloudError says what became of it; note an answer."""
    request, started = Request(), monotonic()
    try:
        yield request
    except CloudError as error:
        request.code, request.http_status, request.request_id = error.code, error.http_status, error.request_id
        raise
    finally:
        seconds = monotonic() - started
        count_request(action, seconds, request.code, http_status=request.http_status, is_sent=request.is_sent)
        facts = {
            "action": action,
            "host": host,
            "code": request.code,
            "http_status": request.http_status,
            "request_id": request.request_id,
            "seconds": round(seconds, 6),
        }
        logger.debug("%s at %s: %s", action, host, request.code, extra=facts)


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
