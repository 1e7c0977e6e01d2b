"""Faults in what a call does and when, and ``KINDS``: all kinds of faults that a test can ask for."""

from typing import Annotated, Literal

from pydantic import Field

from tair_simulator import reply_faults
from tair_simulator.faults import Fault, Setting
from tair_simulator.holds import Point
from tair_simulator.instances import Seconds
from tair_simulator.mistakes import InputError, parse
from tair_simulator.replies import Reply

HoldId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class DelayFault(Fault):
    """The call is slow, before or after it takes effect; a client that gave up does not stop it."""

    kind: Literal["delay"]
    seconds: Seconds
    when: Point = "before"

    def seconds_at(self, point: Point) -> float:
        """Return all of the delay, or nothing."""
        return self.seconds if point == self.when else 0.0


class HoldFault(Fault):
    """The call waits, before or after it takes effect, until somebody releases it."""

    kind: Literal["hold"]
    count: Literal[1] = 1
    id: HoldId | None = None
    point: Point = "before"

    @property
    def hold_id(self) -> str:
        """As the fault says; the control API has named it by now."""
        return self.id or ""

    @property
    def hold_point(self) -> Point:
        """As the fault says."""
        return self.point


class ResetFault(Fault):
    """The connection breaks before or after the call took effect; the client cannot know which."""

    kind: Literal["reset-before", "reset-after"]

    @property
    def applies(self) -> bool:
        """As the kind says."""
        return self.kind == "reset-after"

    def answer(self, reply: Reply | None, setting: Setting) -> None:
        """Answer nothing."""


class LateFault(Fault):
    """The connection breaks at once, and the call takes effect some seconds later."""

    kind: Literal["late"]
    seconds: Seconds

    @property
    def hangs_up(self) -> bool:
        """Always."""
        return True

    def seconds_at(self, point: Point) -> float:
        """Return the time until the effect."""
        return self.seconds if point == "before" else 0.0

    def answer(self, reply: Reply | None, setting: Setting) -> None:
        """Answer nothing."""


class AsyncFailureFault(Fault):
    """The call is accepted and the instance busy for a while, and then nothing has changed."""

    kind: Literal["async-failure"]

    @property
    def fails_later(self) -> bool:
        """Always."""
        return True


KINDS: dict[str, type[Fault]] = {
    "async-failure": AsyncFailureFault,
    "content-type": reply_faults.ContentTypeFault,
    "delay": DelayFault,
    "drip": reply_faults.DripFault,
    "empty200": reply_faults.EmptySuccessFault,
    "empty500": reply_faults.EmptyErrorFault,
    "error": reply_faults.ErrorFault,
    "extra-fields": reply_faults.ExtraFieldsFault,
    "garbage": reply_faults.GarbageFault,
    "hold": HoldFault,
    "http502": reply_faults.BadGatewayFault,
    "huge": reply_faults.HugeFault,
    "late": LateFault,
    "lower-case": reply_faults.LowerCaseFault,
    "no-request-id": reply_faults.NoRequestIdFault,
    "reset-after": ResetFault,
    "reset-before": ResetFault,
    "slow-headers": reply_faults.SlowHeadersFault,
    "throttle": reply_faults.ThrottleFault,
    "truncated": reply_faults.TruncatedFault,
    "type-jitter": reply_faults.JitterFault,
    "unavailable": reply_faults.UnavailableFault,
}


def parse_fault(written: object) -> Fault:
    """Return the fault that somebody wrote; raise ``InputError`` with every mistake in it."""
    if not isinstance(written, dict):
        raise InputError(["(top level): must be a JSON object with the fields action, kind and count"])
    kind = KINDS.get(str(written.get("kind")))
    if kind is None:
        raise InputError([f"kind: must be one of {', '.join(KINDS)}"])
    return parse(kind, written)
