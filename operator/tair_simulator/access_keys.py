"""Access keys: their secrets, the temporary tokens from STS, and what RAM permits them.

A permanent key has no token at all. A temporary one has one or several: while an STS token is being replaced, the old
one stays valid until it expires, so both are good for a while. Secrets and tokens go in and never come out again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, SecretStr

from tair_simulator.mistakes import InputError, Strict, parse
from tair_simulator.ram import ACCOUNT_ID, Statement

SECRET_FIELDS = {"secret", "security_token", "tokens", "expiration"}

Secret = Annotated[SecretStr, Field(min_length=1)]
Moment = Annotated[AwareDatetime, Field(strict=False)]


class Token(Strict):
    """A security token, good until ``expiration`` (for ever without one)."""

    token: Secret
    expiration: Moment | None = None


class AccessKey(Strict):
    """An access key; with security tokens it is a temporary one from STS, with policies it is not the account's own."""

    secret: Secret
    status: Literal["Active", "Inactive"] = "Active"
    security_token: Secret | None = None
    expiration: Moment | None = None
    tokens: list[Token] = Field(default_factory=list)
    account_id: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")] = ACCOUNT_ID
    policies: list[Statement] | None = None
    denied_code: Literal["Forbidden.RAM", "NoPermission"] = "Forbidden.RAM"
    principal_type: Literal["SubUser", "AssumedRoleUser", "FederatedSSO"] | None = None
    display_name: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    def all_tokens(self) -> list[Token]:
        """Return every token that this key was ever given, expired ones included."""
        if self.security_token is None:
            return list(self.tokens)
        return [Token(token=self.security_token, expiration=self.expiration), *self.tokens]


def patched(key: AccessKey | None, written: object) -> AccessKey:
    """Return a new key, or ``key`` with the written fields changed; raise ``InputError`` with every mistake."""
    if key is None:
        return parse(AccessKey, written)
    if not isinstance(written, Mapping):
        raise InputError(["(top level): must be a JSON object"])
    return parse(AccessKey, {**key.model_dump(by_alias=True, exclude_none=True), **written})


def show(access_key_id: str, key: AccessKey, now: datetime) -> dict[str, object]:
    """Return the key as the control API shows it: of secret and tokens, only how long they last."""
    return {
        "accessKeyId": access_key_id,
        **key.model_dump(mode="json", by_alias=True, exclude=SECRET_FIELDS),
        "tokens": [
            {
                "expiration": token.expiration and token.expiration.astimezone(UTC).isoformat(),
                "expired": is_expired(token, now),
            }
            for token in key.all_tokens()
        ],
    }


def is_expired(token: Token, now: datetime) -> bool:
    """Return whether a token is good no longer."""
    return token.expiration is not None and now >= token.expiration
