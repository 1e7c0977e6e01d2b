"""The metadata server of an ECS instance, in security hardening mode only: first a token, then credentials.

Source: "Instance metadata" in the Alibaba Cloud help centre. The paths, headers and limits are documented there; the
statuses of refusals and their bodies are guesses. In the cloud it has an address of its own, 100.100.100.200.
"""

import json
import re
from collections.abc import Mapping

from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError, refusal
from tair_simulator.roles import name_of
from tair_simulator.sessions import as_text, open_session

ROOT = "/latest/"
VERSION = "latest"
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
ROLE_PATH = "/latest/meta-data/ram/security-credentials/"
TTL_HEADER = "x-aliyun-ecs-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aliyun-ecs-metadata-token"  # noqa: S105 - a name
LONGEST_TTL = 21_600
SESSION_SECONDS = 21_600
SESSION_NAME = "i-simulated"


def action_of(path: str) -> str:
    """Return the name under which the ledger and faults know a request for this path."""
    if path == TOKEN_PATH:
        return "MetadataToken"
    if path in {ROLE_PATH, ROLE_PATH.removesuffix("/")}:
        return "MetadataRole"
    return "MetadataCredentials" if path.startswith(ROLE_PATH) else "Metadata"


def check(cloud: Cloud, method: str, path: str, headers: Mapping[str, str]) -> None:
    """Refuse a request without what it needs, and one for what is not there."""
    if path == TOKEN_PATH:
        _check_method(method, "PUT")
        _ttl(headers)
        return
    _check_method(method, "GET")
    if not cloud.metadata_tokens.is_good(headers.get(TOKEN_HEADER, ""), cloud.clock()):
        raise refusal("Forbidden")
    role = cloud.directory.ecs_role()
    if role is None or path not in {ROLE_PATH, ROLE_PATH.removesuffix("/"), f"{ROLE_PATH}{name_of(role)}"}:
        raise refusal("NotFound")


def answer(cloud: Cloud, path: str, headers: Mapping[str, str]) -> str:
    """Return the text that answers a request that was checked."""
    role = cloud.directory.ecs_role()
    match action_of(path):
        case "MetadataToken":
            return cloud.metadata_tokens.issue(_ttl(headers), cloud.clock())
        case "MetadataRole" if role is not None:
            return name_of(role)
        case "MetadataCredentials" if role is not None:
            return _credentials(cloud, role)
        case _:
            raise refusal("NotFound")


def _credentials(cloud: Cloud, role: str) -> str:
    # A guess: new ones each time. The real server repeats them until they are about to expire.
    session = open_session(cloud, role, SESSION_NAME, SESSION_SECONDS)
    fields = {"Code": "Success", "LastUpdated": as_text(session.issued_at), **session.to_json()}
    return json.dumps(fields, indent=2)


def _ttl(headers: Mapping[str, str]) -> int:
    text = headers.get(TTL_HEADER, "")
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) is None or not 1 <= int(text) <= LONGEST_TTL:
        raise CloudError("InvalidParameter", f"{TTL_HEADER} is not a whole number from 1 to 21600.", http_status=400)
    return int(text)


def _check_method(method: str, allowed: str) -> None:
    if method != allowed:
        raise CloudError("UnsupportedHTTPMethod", f"{allowed} is the only method here.", http_status=405)
