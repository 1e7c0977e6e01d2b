"""Alibaba Cloud STS: keys or a token of Kubernetes in, temporary credentials of a RAM role out.

AssumeRole is signed like every other call; AssumeRoleWithOIDC is not signed, its
token is the proof. Both send their parameters in the body: what stands in a URL
ends up in somebody's log.

Sources: API pages AssumeRole and AssumeRoleWithOIDC of STS 2015-04-01, and
Alibaba's credentials packages, which the tests compare this with.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import aiohttp

from tair_operator.aliyun import errors, signing
from tair_operator.aliyun.counts import OK, counted
from tair_operator.aliyun.credentials.keys import Credentials, account_of, mistake_in, trouble
from tair_operator.aliyun.endpoints import Endpoint, endpoint_of
from tair_operator.aliyun.limiter import retry_after
from tair_operator.aliyun.redaction import redact
from tair_operator.aliyun.replies import Fields, UnreadableError, failure_in, is_code, parse, request_id_in
from tair_operator.aliyun.wire import Limits, RawReply, WireError, post
from tair_operator.models import Reason
from tair_operator.ports import Clock, CloudError

AUDIENCE = "sts.aliyuncs.com"
"""Whom a token is for: STS accepts no other."""
LIMITS = Limits(connect=timedelta(seconds=5), total=timedelta(seconds=5), body=64 * 1024)
LIFE = timedelta(hours=1)
"""How long a session lasts. RAM allows an hour unless the role says otherwise."""

_VERSION = "2015-04-01"
_FORM = "application/x-www-form-urlencoded"
_PAUSE = timedelta(seconds=1)
_NO_PERMISSION = {"nopermission", "authenticationfail.nopermission"}
_SUCCESS, _REDIRECT, _REFUSAL = 200, 300, 400


@dataclass(frozen=True, slots=True)
class Role:
    """A RAM role to assume. ``session_name`` is what ActionTrail shows; it has 2 to 64 letters, digits or ``.@_-``."""

    arn: str
    session_name: str
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    action: str
    role: Role
    secrets: tuple[str | None, ...]
    needs: str
    """What RAM has to allow."""


def sts_endpoint(*, region: str | None = None, vpc: bool = False, override: str | None = None) -> Endpoint:
    """Return where STS answers. Inside a VPC only the hosts of the regions can be reached."""
    if override is not None:
        return endpoint_of("", override=override)
    if region is None:
        return Endpoint("https", "sts.aliyuncs.com")
    return Endpoint("https", f"sts{'-vpc' if vpc else ''}.{region}.aliyuncs.com")


class Sts:
    """Calls STS, once per request. ``new_nonce`` returns a word that is never the same twice."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        clock: Clock,
        new_nonce: Callable[[], str],
        *,
        life: timedelta = LIFE,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._clock = clock
        self._new_nonce = new_nonce
        self._seconds = str(int(life.total_seconds()))
        self._user_agent = f"tair-operator/{version('tair-operator')}"
        self._paused_until: dict[str, float] = {}

    async def assume_role(self, keys: Credentials, role: Role) -> Credentials:
        """Exchange an AccessKey for credentials of a role.

        Raises:
            CloudError: STS refused, or gave no usable answer.

        """
        parameters = self._parameters(role)
        if role.external_id is not None:
            parameters["ExternalId"] = role.external_id
        body = signing.canonical_query(parameters).encode()
        headers = self._sign("AssumeRole", keys, body)
        needs = (
            f"the RAM user needs sts:AssumeRole on {role.arn}, and the trust policy of that role has to name the user, "
            "or the role that the operator has already"
        )
        question = _Question("AssumeRole", role, keys.secrets, needs)
        return await self._ask(question, f"{self._endpoint}/", headers, body)

    async def assume_role_with_oidc(self, token: str, provider_arn: str, role: Role, subject: str) -> Credentials:
        """Exchange a token that the cluster issued for credentials of a role.

        ``subject`` is whom the token is about, to be named in a refusal.

        Raises:
            CloudError: STS refused, or gave no usable answer.

        """
        action = "AssumeRoleWithOIDC"
        common = {
            "Action": action,
            "Format": "JSON",
            "Timestamp": self._clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Version": _VERSION,
        }
        parameters = self._parameters(role) | {"OIDCProviderArn": provider_arn, "OIDCToken": token}
        headers = {"content-type": _FORM, **self._plain_headers()}
        needs = (
            f"the trust policy of {role.arn} has to allow sts:AssumeRole to the identity provider {provider_arn}, with "
            f"oidc:sub {subject} and oidc:aud {AUDIENCE}"
        )
        question = _Question(action, role, (token, *token.split(".")), needs)
        body = signing.canonical_query(parameters).encode()
        return await self._ask(question, f"{self._endpoint}/?{signing.canonical_query(common)}", headers, body)

    def _parameters(self, role: Role) -> dict[str, str]:
        return {"DurationSeconds": self._seconds, "RoleArn": role.arn, "RoleSessionName": role.session_name}

    def _plain_headers(self) -> dict[str, str]:
        return {"accept": "application/json", "accept-encoding": "identity", "user-agent": self._user_agent}

    def _sign(self, action: str, keys: Credentials, body: bytes) -> dict[str, str]:
        body_hash = hashlib.sha256(body).hexdigest()
        headers = signing.common_headers(
            host=self._endpoint.host,
            action=action,
            version=_VERSION,
            timestamp=self._clock.now(),
            nonce=self._new_nonce(),
            body_hash=body_hash,
        )
        headers["content-type"] = _FORM
        signed = signing.sign(
            headers,
            query="",
            access_key_id=keys.access_key_id,
            access_key_secret=keys.access_key_secret,
            security_token=keys.security_token,
            body_hash=body_hash,
        )
        return signed | self._plain_headers()

    async def _ask(self, question: _Question, url: str, headers: dict[str, str], body: bytes) -> Credentials:
        account = account_of(question.role.arn)
        left = timedelta(seconds=self._paused_until.get(account, 0.0) - self._clock.monotonic())
        if left > timedelta(0):
            message = "STS asked for a pause, which is not over yet"
            raise trouble(errors.PAUSED, message, action=question.action, retry_after=left)
        try:
            with counted(question.action, self._endpoint.host, self._clock.monotonic) as request:
                try:
                    raw = await post(self._session, url, headers, LIMITS, body)
                except WireError as error:
                    code = errors.NO_ANSWER if error.sent else errors.CONNECTION_FAILED
                    message = f"{self._endpoint.host}: {redact(str(error), question.secrets)}"
                    raise trouble(code, message, action=question.action) from error
                found = _credentials_in(_judge(question, raw), question)
                request.code, request.http_status = OK, raw.http_status
        except CloudError as error:
            if error.reason is Reason.THROTTLED:
                self._pause(account, error.retry_after or _PAUSE)
            raise
        return found

    def _pause(self, account: str, length: timedelta) -> None:
        now = self._clock.monotonic()
        self._paused_until = {name: until for name, until in self._paused_until.items() if until > now}
        self._paused_until[account] = now + length.total_seconds()


def _judge(question: _Question, raw: RawReply) -> Fields:
    status, action = raw.http_status, question.action
    request_id = request_id_in(raw.headers)
    if _REDIRECT <= status < _REFUSAL:
        message = f"HTTP status {status} points elsewhere; check the STS endpoint setting"
        raise trouble(errors.REDIRECTED, message, action=action, http_status=status, request_id=request_id)
    try:
        fields = parse(raw.body)
    except UnreadableError as error:
        message = f"{error} (HTTP status {status})"
        raise trouble(
            errors.UNREADABLE_ANSWER, message, action=action, http_status=status, request_id=request_id
        ) from None
    request_id = request_id_in(raw.headers, fields)
    failure = failure_in(fields)
    if failure is not None and is_code(failure.code):
        advice = errors.classify(failure.code, status).advice
        if failure.code.lower() in _NO_PERMISSION:
            advice = question.needs
        text = redact(failure.message, question.secrets) or "STS gave no reason"
        raise trouble(
            failure.code,
            f"{text} ({advice})" if advice else text,
            action=action,
            http_status=status,
            request_id=request_id,
            retry_after=retry_after(raw.headers),
        )
    if failure is not None or not _SUCCESS <= status < _REDIRECT:
        message = f"an error without a usable code (HTTP status {status})"
        raise trouble(errors.UNREADABLE_ANSWER, message, action=action, http_status=status, request_id=request_id)
    return fields


def _credentials_in(fields: Fields, question: _Question) -> Credentials:
    found = read_session(fields.fields("Credentials"))
    if found is None:
        message = "the answer has no complete credentials in it"
        raise trouble(errors.UNREADABLE_ANSWER, message, action=question.action, http_status=_SUCCESS)
    return found


def read_session(fields: Fields) -> Credentials | None:
    """Read temporary credentials as STS and the metadata service write them; None unless they are complete."""
    texts = [fields.get(name) for name in ("AccessKeyId", "AccessKeySecret", "SecurityToken")]
    expiration = fields.text("Expiration")
    key_id, secret, token = (text if isinstance(text, str) and not mistake_in(text) else "" for text in texts)
    try:
        expires_at = datetime.fromisoformat(expiration or "")
    except ValueError:
        return None
    if not (key_id and secret and token and expires_at.tzinfo):
        return None
    return Credentials(key_id, secret, token, expires_at)
