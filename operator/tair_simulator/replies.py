"""What goes back to the client: status, headers and bytes, in the form of the real API.

Pure: a reply is a value that ``faults`` may still bend before ``server`` sends it. Source: the common response of the
RPC style in the Alibaba Cloud help centre.
"""

import json
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tair_simulator.errors import CloudError

JSON = "application/json;charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply; ``code`` is the error code in it, for the ledger."""

    http_status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None


def success(request_id: str, fields: dict[str, object]) -> Reply:
    """Return the reply to an accepted call."""
    return Reply(200, _json({"RequestId": request_id, **fields}))


def failure(request_id: str, host: str, error: CloudError) -> Reply:
    """Return the reply to a refused call."""
    query = urlencode({"q": error.code, "product": "R-kvstore", "requestId": request_id})
    body: dict[str, object] = {
        "RequestId": request_id,
        "HostId": host,
        "Code": error.code,
        "Message": error.message,
        "Recommend": f"https://api.alibabacloud.com/troubleshoot?{query}",
    }
    return Reply(error.http_status, _json(body), code=error.code)


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
