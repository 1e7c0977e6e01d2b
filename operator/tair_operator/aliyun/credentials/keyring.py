"""Hands out the credentials of whom a resource names: a Secret, a ServiceAccount, or the operator.

A principal names its namespace, which is that of the resource, and everything is
read there and nowhere else. A tenant's ServiceAccount is turned into credentials
by a token of its own, never by the operator's: RAM sees who asks, and the trust
policy of the role decides.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeVar, assert_never

from tair_operator.aliyun.credentials.keys import (
    Credentials,
    CredentialsProvider,
    check_arn,
    parse_keys,
    trouble,
)
from tair_operator.aliyun.credentials.sessions import DerivedCredentials
from tair_operator.aliyun.credentials.sts import AUDIENCE, Role, Sts
from tair_operator.aliyun.errors import CREDENTIALS_MALFORMED, CREDENTIALS_MISSING, CREDENTIALS_UNREADABLE
from tair_operator.aliyun.redaction import redact
from tair_operator.models import ANNOTATION_ROLE
from tair_operator.ports import Clock, ClusterUnavailableError, ForbiddenError, IssuedToken, Principal, PrincipalKind
from tair_operator.settings import PROVIDER_ARN, ROLE_ARN

T = TypeVar("T")

UNUSED = timedelta(hours=1)
"""A provider that nobody asked for so long is forgotten."""
TOKEN_SECONDS = 600
"""How long a requested token is good for: it is used at once, and Kubernetes grants no less."""

_SESSION_NAME_MAX = 64


class Identities(Protocol):
    """What Kubernetes knows about who may do what, as far as credentials need it.

    Each raises ``ForbiddenError`` where the operator may not ask, and
    ``ClusterUnavailableError`` where there was no answer.
    """

    async def read_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Read the data of a Secret; None when there is none."""

    async def read_service_account_annotations(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read the annotations of a ServiceAccount; None when there is none."""

    async def request_token(self, namespace: str, name: str, audience: str, seconds: int) -> IssuedToken | None:
        """Ask for a token of a ServiceAccount; None when there is no such ServiceAccount."""


class OwnCredentials(CredentialsProvider, Protocol):
    """The operator's own source."""

    @property
    def expires_at(self) -> datetime | None:
        """When the present credentials expire; None where they do not, or there are none."""


class _Keys(NamedTuple):
    """What a Secret says."""

    credentials: Credentials
    role_arn: str | None


_Provider = DerivedCredentials[_Keys] | DerivedCredentials[str]


class _Kept(NamedTuple):
    provider: _Provider
    asked_at: float


class Keyring:
    """Keeps a provider for each principal, for as long as somebody asks for it.

    ``provider_arn`` names the identity provider in RAM that trusts this cluster.
    """

    def __init__(
        self,
        own: OwnCredentials,
        *,
        identities: Identities,
        sts: Sts,
        clock: Clock,
        session_name: str,
        provider_arn: str | None = None,
    ) -> None:
        self._own = own
        self._identities = identities
        self._sts = sts
        self._clock = clock
        self._session_name = session_name
        self._provider_arn = provider_arn
        # The one that was asked for last stands at the end.
        self._kept: dict[Principal, _Kept] = {}

    @property
    def earliest_expiry(self) -> datetime | None:
        """When the first of all present credentials expires; None when none does."""
        times = [self._own.expires_at, *(kept.provider.expires_at for kept in self._kept.values())]
        return min((time for time in times if time is not None), default=None)

    def provider_of(self, principal: Principal | None) -> CredentialsProvider:
        """Return the provider of a principal, for None the operator's own."""
        if principal is None:
            return self._own
        now = self._clock.boottime()
        kept = self._kept.pop(principal, None)
        provider = self._open(principal) if kept is None else kept.provider
        self._kept[principal] = _Kept(provider, now)
        self._forget_unused(now)
        return provider

    def _forget_unused(self, now: float) -> None:
        for principal, kept in list(self._kept.items()):
            if now - kept.asked_at <= UNUSED.total_seconds():
                return
            del self._kept[principal]

    def _open(self, principal: Principal) -> _Provider:
        match principal.kind:
            case PrincipalKind.SECRET:
                return DerivedCredentials(
                    lambda: self._read_keys(principal), lambda keys: self._use_keys(principal, keys), self._clock
                )
            case PrincipalKind.SERVICE_ACCOUNT:
                return DerivedCredentials(
                    lambda: self._read_role(principal), lambda arn: self._exchange(principal, arn), self._clock
                )
            case _:
                assert_never(principal.kind)

    async def _read_keys(self, principal: Principal) -> _Keys:
        data = await _asked(principal, self._identities.read_secret, principal.namespace, principal.name)
        if data is None:
            message = f"there is no {principal}: create it with accessKeyId and accessKeySecret"
            raise trouble(CREDENTIALS_MISSING, message)
        texts = {name: value.decode(errors="replace").rstrip("\r\n") for name, value in data.items()}
        role, names = texts.get("roleArn"), ("accessKeyId", "accessKeySecret", "securityToken")
        if role and not any(texts.get(name) for name in names):
            message = f"{principal} has a roleArn and no keys to assume it with: add accessKeyId and accessKeySecret"
            raise trouble(CREDENTIALS_MALFORMED, message)
        credentials = parse_keys(texts, names, f"key {{}} of {principal}")
        return _Keys(credentials, check_arn(role, ROLE_ARN, f"key roleArn of {principal}") if role else None)

    async def _use_keys(self, principal: Principal, keys: _Keys) -> Credentials:
        if keys.role_arn is None:
            return keys.credentials
        return await self._sts.assume_role(keys.credentials, self._role(principal, keys.role_arn))

    async def _read_role(self, principal: Principal) -> str:
        annotations = await _asked(
            principal, self._identities.read_service_account_annotations, principal.namespace, principal.name
        )
        if annotations is None:
            raise trouble(CREDENTIALS_MISSING, f"there is no {principal}: create it, or correct the name")
        role = annotations.get(ANNOTATION_ROLE)
        if not role:
            message = f"{principal} has no annotation {ANNOTATION_ROLE}: set it to the ARN of the RAM role to assume"
            raise trouble(CREDENTIALS_MISSING, message)
        return check_arn(role, ROLE_ARN, f"annotation {ANNOTATION_ROLE} of {principal}")

    async def _exchange(self, principal: Principal, role_arn: str) -> Credentials:
        if self._provider_arn is None:
            message = (
                f"no token of {principal} can be exchanged: whoever runs the operator has to set "
                "TAIR_OPERATOR_OIDC_PROVIDER_ARN to the ARN of the identity provider in RAM that trusts this cluster"
            )
            raise trouble(CREDENTIALS_MISSING, message)
        provider = check_arn(self._provider_arn, PROVIDER_ARN, "the configured identity provider")
        issued = await _asked(
            principal, self._identities.request_token, principal.namespace, principal.name, AUDIENCE, TOKEN_SECONDS
        )
        if issued is None:
            raise trouble(CREDENTIALS_MISSING, f"there is no {principal}: create it, or correct the name")
        if not issued.token:
            raise trouble(CREDENTIALS_UNREADABLE, f"the Kubernetes API issued an empty token of {principal}")
        subject = f"system:serviceaccount:{principal.namespace}:{principal.name}"
        return await self._sts.assume_role_with_oidc(issued.token, provider, self._role(principal, role_arn), subject)

    def _role(self, principal: Principal, arn: str) -> Role:
        # ActionTrail shows the session's name: it tells the calls of one tenant from those of another.
        name = f"{self._session_name}.{principal.namespace}.{principal.name}"
        return Role(arn, name[:_SESSION_NAME_MAX])


async def _asked(principal: Principal, question: Callable[..., Awaitable[T]], *about: str | int) -> T:
    """Ask Kubernetes; the ways in which it does not answer become errors that a status can show."""
    try:
        return await question(*about)
    except ForbiddenError as error:
        raise trouble(CREDENTIALS_MISSING, str(error)) from error
    except ClusterUnavailableError as error:
        raise trouble(CREDENTIALS_UNREADABLE, f"{principal} cannot be read now: {redact(str(error))}") from error
