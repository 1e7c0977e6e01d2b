"""What goes back to the client: status, headers and bytes, in the form of the real API.

Pure: a reply is a value that ``faults`` may still bend before ``server`` sends it. Source: the common response of the
RPC style in the Alibaba Cloud help centre.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from tair_simulator.errors import CloudError

JSON = "application/json;charset=utf-8"
RETRY_AFTER = "x-acs-retry-after"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply; ``code`` is the error code in it, for the ledger, ``anonymous`` hides the id of the request."""

    http_status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a reply travels; ``None`` bytes per second is as fast as it can."""

    header_seconds: float = 0.0
    bytes_per_second: int | None = None


AT_ONCE = Pace()


def success(request_id: str, fields: dict[str, object]) -> Reply:
    """Return the reply to an accepted call."""
    return Reply(200, _json({"RequestId": request_id, **fields}))


def plain(http_status: int, text: str, code: str | None = None) -> Reply:
    """Return a reply that is nothing but text, as the metadata server sends it."""
    return Reply(http_status, text.encode(), content_type="text/plain", code=code, anonymous=True)


def failure(request_id: str, host: str, error: CloudError, product: str = "R-kvstore") -> Reply:
    """Return the reply to a refused call; ``x-acs-retry-after`` is in milliseconds."""
    query = urlencode({"q": error.code, "product": product, "requestId": request_id})
    body: dict[str, object] = {
        "RequestId": request_id,
        "HostId": host,
        "Code": error.code,
        "Message": error.message,
        "Recommend": f"https://api.alibabacloud.com/troubleshoot?{query}",
    }
    if error.access_denied_detail is not None:
        body["AccessDeniedDetail"] = dict(error.access_denied_detail)
    headers = {} if error.retry_after_ms is None else {RETRY_AFTER: str(error.retry_after_ms)}
    return Reply(error.http_status, _json(body), headers=headers, code=error.code)


def rewritten(reply: Reply, change: Callable[[dict[str, object]], dict[str, object]]) -> Reply:
    """Return a reply whose fields are others; one without fields stays as it is."""
    if reply.content_type != JSON:
        return reply
    return replace(reply, body=_json(change(json.loads(reply.body))))


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
