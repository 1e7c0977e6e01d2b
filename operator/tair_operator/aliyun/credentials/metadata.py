"""The RAM role of the ECS instance that the operator runs on.

Only version 2 of the metadata service is spoken, which asks for a token first:
the older one hands a node's role to whoever can make it fetch a URL. A pod that
may do this acts as its node, so nothing uses it unless it was chosen.

Source: "Instance RAM roles" and "Instance metadata" in the ECS documentation.
"""

import re
import time
from datetime import timedelta
from http import HTTPStatus

import aiohttp

from tair_operator.aliyun import errors
from tair_operator.aliyun.counts import OK, counted
from tair_operator.aliyun.credentials.keys import Credentials, trouble
from tair_operator.aliyun.credentials.sts import read_session
from tair_operator.aliyun.replies import Fields, UnreadableError, parse
from tair_operator.aliyun.wire import Limits, RawReply, WireError, request

LIMITS = Limits(connect=timedelta(seconds=2), total=timedelta(seconds=2), body=64 * 1024)

_LIFE_SECONDS = "60"
_ROLES = "/latest/meta-data/ram/security-credentials/"
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class EcsRole:
    """Asks the metadata service at an origin for a role; without a name, for the one that is attached."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, role_name: str | None = None) -> None:
        self._session = session
        self._role_name = role_name
        self._endpoint = endpoint

    async def fetch(self) -> Credentials:
        """Return the present credentials of the role.

        Raises:
            CloudError: there is no metadata service, no role, or no usable answer.

        """
        token = await self._token()
        name = self._role_name or await self._attached_role(token)
        raw = await self._ask("MetadataCredentials", "GET", _ROLES + name, token)
        if raw.http_status == HTTPStatus.NOT_FOUND:
            message = f"the role {name} is not attached to this ECS instance: attach it, or correct ECS_ROLE_NAME"
            raise trouble(errors.CREDENTIALS_MISSING, message, action="MetadataCredentials", http_status=404)
        found = read_session(self._fields(raw))
        if found is None:
            raise _unreadable("MetadataCredentials", raw)
        return found

    async def _token(self) -> str:
        headers = {"x-aliyun-ecs-metadata-token-ttl-seconds": _LIFE_SECONDS}
        raw = await self._ask("MetadataToken", "PUT", "/latest/api/token", None, headers)
        text = _text(raw)
        if raw.http_status != HTTPStatus.OK or not _TOKEN.fullmatch(text):
            raise _unreadable("MetadataToken", raw)
        return text

    async def _attached_role(self, token: str) -> str:
        raw = await self._ask("MetadataRole", "GET", _ROLES, token)
        name = _text(raw)
        if raw.http_status == HTTPStatus.NOT_FOUND or not name:
            message = "no RAM role is attached to this ECS instance: attach one, or choose another CREDENTIALS_SOURCE"
            raise trouble(errors.CREDENTIALS_MISSING, message, action="MetadataRole", http_status=raw.http_status)
        if raw.http_status != HTTPStatus.OK or not _NAME.fullmatch(name):
            raise _unreadable("MetadataRole", raw)
        return name

    async def _ask(
        self, action: str, method: str, path: str, token: str | None, headers: dict[str, str] | None = None
    ) -> RawReply:
        headers = dict(headers or {})
        if token is not None:
            headers["x-aliyun-ecs-metadata-token"] = token
        with counted(action, self._endpoint, time.monotonic) as counting:
            try:
                raw = await request(self._session, method, self._endpoint + path, headers, LIMITS)
            except WireError as error:
                message = f"{self._endpoint}: {error}; only an ECS instance can reach the metadata service"
                code = errors.NO_ANSWER if error.sent else errors.CONNECTION_FAILED
                raise trouble(code, message, action=action) from error
            # It has no codes of its own.
            counting.code = OK if raw.http_status == HTTPStatus.OK else f"HTTP {raw.http_status}"
            counting.http_status = raw.http_status
        return raw

    def _fields(self, raw: RawReply) -> Fields:
        try:
            fields = parse(raw.body)
        except UnreadableError:
            raise _unreadable("MetadataCredentials", raw) from None
        if raw.http_status != HTTPStatus.OK or fields.text("Code") != "Success":
            raise _unreadable("MetadataCredentials", raw)
        return fields


def _text(raw: RawReply) -> str:
    return raw.body.decode(errors="replace").strip()


def _unreadable(action: str, raw: RawReply) -> Exception:
    message = f"the metadata service gave no usable answer (HTTP status {raw.http_status})"
    return trouble(errors.UNREADABLE_ANSWER, message, action=action, http_status=raw.http_status)
