"""Faults that a test asks for, and the queue they wait in.

Every fault says four things about the call that it meets: how long to wait before it, whether its effect happens, how
long to wait before answering, and what the answer becomes. ``server`` knows only these four, so a new kind of fault
is a new class in this module and nothing else.
"""

# ruff: noqa: ARG002 - every kind of fault is asked in the same way, and few need all that they are told

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from tair_simulator.errors import CloudError
from tair_simulator.instances import InstanceId, Seconds
from tair_simulator.mistakes import InputError, Strict, parse
from tair_simulator.replies import Reply, failure

ANY_ACTION = "*"
RETRY_AFTER = "x-acs-retry-after"

HttpError = Annotated[int, Field(ge=400, le=599)]
Code = Annotated[str, Field(min_length=1, max_length=128)]
Message = Annotated[str, Field(max_length=4096)]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a fault strikes: the ids that its answer carries."""

    request_id: str
    host: str


class Fault(Strict):
    """One kind of trouble, for the next ``count`` calls of ``action`` (and of one instance, if it names one)."""

    action: Annotated[str, Field(pattern=r"^(\*|[A-Z][A-Za-z]{2,63})$")]
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    instance_id: InstanceId | None = None
    kind: str

    @property
    def applies(self) -> bool:
        """Whether the call takes effect."""
        return True

    @property
    def seconds_before(self) -> float:
        """How long the call waits before it takes effect."""
        return 0.0

    @property
    def seconds_after(self) -> float:
        """How long the answer waits after the call took effect."""
        return 0.0

    def answer(self, reply: Reply | None, setting: Setting) -> Reply | None:
        """Return what is sent in place of ``reply``; ``None`` closes the connection without an answer."""
        return reply

    def meets(self, action: str, instance_id: str | None) -> bool:
        """Return whether this fault is for that call, which may be about several instances: ``r-1,r-2``."""
        named = (instance_id or "").split(",")
        return self.action in {ANY_ACTION, action} and (self.instance_id is None or self.instance_id in named)


class RefusingFault(Fault):
    """A fault that hides the reply; with ``apply`` the effect happens all the same."""

    apply: bool = False

    @property
    def applies(self) -> bool:
        """As the fault says."""
        return self.apply


class ErrorFault(RefusingFault):
    """Any error in the form of the API."""

    kind: Literal["error", "throttle"]
    http_status: HttpError = 500
    code: Code = "InternalError"
    message: Message = "The request processing has failed due to some unknown error."
    retry_after_ms: Annotated[int, Field(ge=0)] | None = None

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return the error, with ``x-acs-retry-after`` in milliseconds if asked for."""
        error = failure(setting.request_id, setting.host, CloudError(self.code, self.message, self.http_status))
        if self.retry_after_ms is None:
            return error
        return replace(error, headers={RETRY_AFTER: str(self.retry_after_ms)})


class ThrottleFault(ErrorFault):
    """Too many calls. The table of common errors has 400 for Throttling.User and 403 for Throttling.Api."""

    http_status: HttpError = 400
    code: Code = "Throttling.User"
    message: Message = "Request was denied due to user flow control."


class BadGatewayFault(RefusingFault):
    """A proxy on the way answers 502 with a page of HTML."""

    kind: Literal["http502"]

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return a page without any request id."""
        return Reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>\n", content_type="text/html")


class EmptyFault(RefusingFault):
    """Status 500 and nothing else."""

    kind: Literal["empty500"]

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return an empty reply."""
        return Reply(500, b"")


class TruncatedFault(Fault):
    """The call takes effect, and its JSON ends in the middle."""

    kind: Literal["truncated"]

    def answer(self, reply: Reply | None, setting: Setting) -> Reply | None:
        """Return the first half of the reply."""
        return reply and replace(reply, body=reply.body[: len(reply.body) // 2])


class DelayFault(Fault):
    """The call is slow, before or after it takes effect; a client that gave up does not stop it."""

    kind: Literal["delay"]
    seconds: Seconds
    when: Literal["before", "after"] = "before"

    @property
    def seconds_before(self) -> float:
        """All of the delay, or nothing."""
        return self.seconds if self.when == "before" else 0.0

    @property
    def seconds_after(self) -> float:
        """All of the delay, or nothing."""
        return self.seconds if self.when == "after" else 0.0


class ResetFault(Fault):
    """The connection breaks before or after the call took effect; the client cannot know which."""

    kind: Literal["reset-before", "reset-after"]

    @property
    def applies(self) -> bool:
        """As the kind says."""
        return self.kind == "reset-after"

    def answer(self, reply: Reply | None, setting: Setting) -> None:
        """Answer nothing."""


KINDS: dict[str, type[Fault]] = {
    "delay": DelayFault,
    "empty500": EmptyFault,
    "error": ErrorFault,
    "http502": BadGatewayFault,
    "reset-after": ResetFault,
    "reset-before": ResetFault,
    "throttle": ThrottleFault,
    "truncated": TruncatedFault,
}


def parse_fault(written: object) -> Fault:
    """Return the fault that somebody wrote; raise ``InputError`` with every mistake in it."""
    if not isinstance(written, dict):
        raise InputError(["(top level): must be a JSON object with the fields action, kind and count"])
    kind = KINDS.get(str(written.get("kind")))
    if kind is None:
        raise InputError([f"kind: must be one of {', '.join(KINDS)}"])
    return parse(kind, written)


class FaultQueue:
    """The faults still to come, used up in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault at the end of the queue."""
        self._pending.append(fault)

    def take(self, action: str, instance_id: str | None) -> Fault | None:
        """Use up one count of the first fault that is for this call."""
        for position, fault in enumerate(self._pending):
            if fault.meets(action, instance_id):
                left = [fault.model_copy(update={"count": fault.count - 1})] if fault.count > 1 else []
                self._pending[position : position + 1] = left
                return fault
        return None

    def pending(self) -> list[Fault]:
        """Return what is still to come; ``count`` says how often."""
        return list(self._pending)

    def clear(self) -> None:
        """Forget all faults."""
        self._pending.clear()
