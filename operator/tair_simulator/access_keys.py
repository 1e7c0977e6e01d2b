"""Access keys: their secrets, the temporary tokens from STS, and what RAM permits them.

A permanent key has no token at all. A temporary one has one or several: while an STS token is being replaced, the old
one stays valid until it expires, so both are good for a while. One that was issued for a role has no policies of its
own: those of the role count, as they are at each call. Secrets and tokens go in and never come out again.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, SecretStr, ValidationInfo, field_validator

from tair_simulator.mistakes import Strict
from tair_simulator.ram import ACCOUNT_ID, Statement
from tair_simulator.roles import RoleArn

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
    role: RoleArn | None = None
    denied_code: Literal["Forbidden.RAM", "NoPermission"] = "Forbidden.RAM"
    principal_type: Literal["SubUser", "AssumedRoleUser", "FederatedSSO"] | None = None
    display_name: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @field_validator("role")
    @classmethod
    def _role_brings_its_policies(cls, role: str | None, others: ValidationInfo) -> str | None:
        if role is not None and others.data.get("policies") is not None:
            raise ValueError("brings its own policies; leave out either of them")
        return role

    def all_tokens(self) -> list[Token]:
        """Return every token that this key was ever given, expired ones included."""
        if self.security_token is None:
            return list(self.tokens)
        return [Token(token=self.security_token, expiration=self.expiration), *self.tokens]


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
