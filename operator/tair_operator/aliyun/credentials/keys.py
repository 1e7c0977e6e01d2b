"""An AccessKey, and what is said about one that cannot be right.

The names of variables, files and keys are Alibaba Cloud's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from tair_operator.aliyun.errors import CREDENTIALS_MALFORMED, CREDENTIALS_MISSING, failure
from tair_operator.ports import CloudError, Effect
from tair_operator.settings import PROVIDER_ARN

_LENGTH_MAX = 16_384
_PLACEHOLDER = re.compile(
    r"<.*>|\$\{.*\}|\{\{.*\}\}|(your|my)[-_]?(access|security|secret).*|change[-_]?me.*|replace[-_]?me.*|placeholder"
    r"|x+|\*+|\.+|todo|none|null",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AccessKey; with a security token, a temporary one."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    """When the cloud stops to accept it; None for one that does not expire, or does not say."""

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What must never be shown."""
        return self.access_key_secret, self.security_token

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id[:4]}***)"


class CredentialsProvider(Protocol):
    """A source of credentials."""

    async def get(self) -> Credentials:
        """Return the credentials to sign with now.

        Raises:
            CloudError: with ``sent`` False; there are none, or they cannot be right.

        """

    def invalidate(self) -> None:
        """Read again next time: the cloud refused what ``get`` returned last."""


def parse_keys(texts: Mapping[str, str], names: tuple[str, str, str], where: str) -> Credentials:
    """Read id, secret and optional security token, which have these names in ``texts``.

    ``where`` says to a person where a name is, as in ``file /keys/{}``.

    Raises:
        CloudError: one is missing, or is nothing that was ever issued.

    """
    id_name, secret_name, token_name = names
    missing = [where.format(name) for name in (id_name, secret_name) if not texts.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise trouble(CREDENTIALS_MISSING, f"{' and '.join(missing)} {verb} missing or empty: put the AccessKey there")
    for name in names:
        mistake = mistake_in(texts.get(name, ""))
        if mistake:
            raise trouble(CREDENTIALS_MALFORMED, f"{where.format(name)} {mistake}: put the AccessKey there, as issued")
    return Credentials(texts[id_name], texts[secret_name], texts.get(token_name) or None)


def check_arn(text: str, pattern: str, where: str) -> str:
    """Return the ARN as it is.

    Raises:
        CloudError: it is none of this pattern.

    """
    if re.fullmatch(pattern, text) is None:
        kind = "oidc-provider" if pattern == PROVIDER_ARN else "role"
        raise trouble(CREDENTIALS_MALFORMED, f"{where} is no ARN: write acs:ram::<account id>:{kind}/<name>")
    return text


def account_of(arn: str) -> str:
    """Return the account that an ARN names."""
    return arn.split(":")[3]


def mistake_in(value: str) -> str | None:
    """Say what is wrong with a value, without the value. An HTTP header could not carry the first three."""
    if value and value.split() != [value]:
        return "contains white space or a line break"
    if not (value.isascii() and value.isprintable()):
        return "contains characters that no AccessKey has"
    if len(value) > _LENGTH_MAX:
        return "is too long"
    if _PLACEHOLDER.fullmatch(value):
        return "still has a placeholder in it"
    return None


def trouble(
    code: str,
    message: str,
    *,
    action: str = "Credentials",
    http_status: int | None = None,
    request_id: str | None = None,
    retry_after: timedelta | None = None,
) -> CloudError:
    """Return the error for credentials that could not be had.

    Whatever became of a request for them, the call that they were for was not
    sent and touched no instance: ``sent`` is False, the effect None.
    """
    error = failure(
        action, code, message, sent=False, http_status=http_status, request_id=request_id, retry_after=retry_after
    )
    return replace(error, effect=Effect.NONE)
