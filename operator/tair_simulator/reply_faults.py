"""Faults that put another reply in place of the call's own, or bend it, or send it slowly.

Those that put a refusal in place of the reply keep the call from taking effect, unless ``apply: true`` says that only
its answer is lost. Those that bend a reply with status 200 let it take effect, unless ``apply: false`` says otherwise.
"""

# ruff: noqa: ARG002 - every kind of fault is asked in the same way, and few need all that they are told

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tair_simulator.errors import KNOWN, CloudError
from tair_simulator.faults import Fault, Setting
from tair_simulator.instances import Seconds
from tair_simulator.jitter import Flavours, jittered
from tair_simulator.replies import Pace, Reply, failure, rewritten, success

MEBIBYTE = 1024 * 1024

HttpError = Annotated[int, Field(ge=400, le=599)]
Code = Annotated[str, Field(min_length=1, max_length=128)]
Message = Annotated[str, Field(max_length=4096)]
# What can be a header's value.
ContentType = Annotated[str, Field(pattern=r"^[\x21-\x7e][\x20-\x7e]{0,126}$")]


class RefusingFault(Fault):
    """A fault that hides the reply; with ``apply`` the effect happens all the same."""

    apply: bool = False

    @property
    def applies(self) -> bool:
        """As the fault says."""
        return self.apply


class BendingFault(Fault):
    """A fault that answers 200 or bends the reply; without ``apply`` the reply is that of a call that did its work."""

    apply: bool = True

    @property
    def applies(self) -> bool:
        """As the fault says."""
        return self.apply

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return the reply in its other shape."""
        return self.bend(reply or success(setting.request_id, {}))

    def bend(self, reply: Reply) -> Reply:
        """Return the reply in its other shape."""
        return reply


class ErrorFault(RefusingFault):
    """Any error in the form of the API; a code that the simulator knows brings its own status and message."""

    kind: Literal["error", "throttle", "unavailable"]
    http_status: HttpError = 500
    code: Code = "InternalError"
    message: Message = "The request processing has failed due to some unknown error."
    retry_after_ms: Annotated[int, Field(ge=0)] | None = None
    access_denied_detail: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_what_the_code_brings(cls, written: dict[str, object]) -> dict[str, object]:
        status, message = KNOWN.get(str(written.get("code")), (None, None))
        known = {} if status is None else {"httpStatus": status, "message": message}
        return {**known, **written}

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return the error, with ``x-acs-retry-after`` in milliseconds if asked for."""
        error = CloudError(
            self.code,
            self.message,
            self.http_status,
            retry_after_ms=self.retry_after_ms,
            access_denied_detail=self.access_denied_detail,
        )
        return failure(setting.request_id, setting.host, error)


class ThrottleFault(ErrorFault):
    """Too many calls. The table of common errors has 400 for Throttling.User and 403 for Throttling.Api."""

    http_status: HttpError = 400
    code: Code = "Throttling.User"
    message: Message = "Request was denied due to user flow control."


class UnavailableFault(ErrorFault):
    """The service is down for a while."""

    http_status: HttpError = 503
    code: Code = "ServiceUnavailable"
    message: Message = "The request has failed due to a temporary failure of the server."


class BadGatewayFault(RefusingFault):
    """A proxy on the way answers 502 with a page of HTML."""

    kind: Literal["http502"]

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return a page without any request id."""
        return Reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>\n", content_type="text/html")


class EmptyErrorFault(RefusingFault):
    """Status 500 and nothing else."""

    kind: Literal["empty500"]

    def answer(self, reply: Reply | None, setting: Setting) -> Reply:
        """Return an empty reply."""
        return Reply(500, b"")


class EmptySuccessFault(BendingFault):
    """Status 200 and nothing else."""

    kind: Literal["empty200"]

    def bend(self, reply: Reply) -> Reply:
        """Return an empty reply."""
        return Reply(200, b"")


class GarbageFault(BendingFault):
    """Status 200, and a body that is neither JSON nor text."""

    kind: Literal["garbage"]

    def bend(self, reply: Reply) -> Reply:
        """Return what nobody can read."""
        return Reply(200, b"\x00\xff\xfe{not JSON\n")


class TruncatedFault(BendingFault):
    """The JSON ends in the middle."""

    kind: Literal["truncated"]

    def bend(self, reply: Reply) -> Reply:
        """Return the first half of the reply."""
        return replace(reply, body=reply.body[: len(reply.body) // 2])


class HugeFault(BendingFault):
    """The JSON is right, and has a field of so many MiB."""

    kind: Literal["huge"]
    mebibytes: Annotated[int, Field(ge=1, le=256)]

    def bend(self, reply: Reply) -> Reply:
        """Return the reply with padding."""
        return rewritten(reply, lambda fields: {**fields, "Padding": "x" * (self.mebibytes * MEBIBYTE)})


class ContentTypeFault(BendingFault):
    """The body is right, its content type is not."""

    kind: Literal["content-type"]
    content_type: ContentType = "text/html"

    def bend(self, reply: Reply) -> Reply:
        """Return the reply under another content type."""
        return replace(reply, content_type=self.content_type)


class NoRequestIdFault(BendingFault):
    """Neither the body nor the headers hold the id of the request."""

    kind: Literal["no-request-id"]

    def bend(self, reply: Reply) -> Reply:
        """Return the reply without its id."""
        bare = rewritten(reply, lambda fields: {name: fields[name] for name in fields if name != "RequestId"})
        return replace(bare, anonymous=True)


class ExtraFieldsFault(BendingFault):
    """Each object in the reply has fields that no page documents."""

    kind: Literal["extra-fields"]

    def bend(self, reply: Reply) -> Reply:
        """Return the reply with more in it."""
        return rewritten(reply, _with_more)


class LowerCaseFault(BendingFault):
    """Names begin with a lower-case letter, as those of some products of Alibaba Cloud do."""

    kind: Literal["lower-case"]

    def bend(self, reply: Reply) -> Reply:
        """Return the reply with other names."""
        return rewritten(reply, _in_lower_case)


class JitterFault(BendingFault):
    """Fields have another type, or are missing."""

    kind: Literal["type-jitter"]
    jitter: Annotated[Flavours, Field(min_length=1)]

    def bend(self, reply: Reply) -> Reply:
        """Return the reply with other types."""
        return rewritten(reply, lambda fields: jittered(fields, self.jitter))


class SlowHeadersFault(BendingFault):
    """The headers take so many seconds to arrive, one after the other."""

    kind: Literal["slow-headers"]
    seconds: Seconds

    @property
    def pace(self) -> Pace:
        """All of it for the headers."""
        return Pace(header_seconds=self.seconds)


class DripFault(BendingFault):
    """The body arrives drop by drop."""

    kind: Literal["drip"]
    bytes_per_second: Annotated[int, Field(ge=1, le=1_000_000)]

    @property
    def pace(self) -> Pace:
        """As the fault says."""
        return Pace(bytes_per_second=self.bytes_per_second)


def _with_more(fields: dict[str, object]) -> dict[str, object]:
    return {**{name: _each(value, _with_more) for name, value in fields.items()}, "XUnknown": {"List": [1, None, "x"]}}


def _in_lower_case(fields: dict[str, object]) -> dict[str, object]:
    return {name[:1].lower() + name[1:]: _each(value, _in_lower_case) for name, value in fields.items()}


def _each(value: object, change: Callable[[dict[str, object]], dict[str, object]]) -> object:
    if isinstance(value, dict):
        return change(value)
    return [_each(item, change) for item in value] if isinstance(value, list) else value
