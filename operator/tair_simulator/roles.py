"""Roles of RAM: who may assume them, for how long, and what they may do then.

A role has no secret. Whoever its trust policy names gets temporary credentials for it: another access key or role by
AssumeRole, the holder of an OIDC token by AssumeRoleWithOIDC, and an ECS instance from its metadata server.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tair_simulator.mistakes import Strict
from tair_simulator.ram import Statement, matches

# API pages AssumeRole and UpdateRole.
SHORTEST_SESSION = 900
USUAL_SESSION = 3600
LONGEST_SESSION = 43_200

RoleArn = Annotated[str, Field(pattern=r"^acs:ram::[0-9]{1,20}:role/[A-Za-z0-9.@_-]{1,64}$")]
ProviderArn = Annotated[str, Field(pattern=r"^acs:ram::[0-9]{1,20}:oidc-provider/[A-Za-z0-9._-]{1,128}$")]
KeyPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9._*?-]{1,128}$")]
SubjectPattern = Annotated[str, Field(min_length=1, max_length=512)]


def _in_a_list(written: object) -> object:
    return [written] if written == "*" else written


class OidcTrust(Strict):
    """Trust in the tokens of a provider for some subjects; ``*`` and ``?`` stand for others as in a policy."""

    provider: ProviderArn
    subjects: Annotated[list[SubjectPattern], Field(min_length=1)]


class Trust(Strict):
    """A trust policy; an empty one trusts nobody."""

    access_key_ids: Annotated[list[KeyPattern], BeforeValidator(_in_a_list)] = Field(default_factory=list)
    roles: list[RoleArn] = Field(default_factory=list)
    oidc: list[OidcTrust] = Field(default_factory=list)

    def in_key(self, access_key_id: str, role: str | None) -> bool:
        """Return whether this key may assume the role; a key that was issued for a role counts as that role only."""
        if role is not None:
            return role in self.roles
        return any(matches(pattern, access_key_id) for pattern in self.access_key_ids)

    def in_subject(self, provider: str, subject: str) -> bool:
        """Return whether the holder of this provider's token for this subject may assume the role."""
        return any(
            trust.provider == provider and any(matches(pattern, subject) for pattern in trust.subjects)
            for trust in self.oidc
        )


class Role(Strict):
    """One role; ``session_seconds`` is how long its sessions last, whatever was asked for."""

    policies: list[Statement] = Field(default_factory=list)
    denied_code: Literal["Forbidden.RAM", "NoPermission"] = "Forbidden.RAM"
    max_session_seconds: Annotated[int, Field(ge=SHORTEST_SESSION, le=LONGEST_SESSION)] = USUAL_SESSION
    session_seconds: Annotated[int, Field(ge=1, le=LONGEST_SESSION)] | None = None
    trust: Trust = Trust()


def account_of(arn: str) -> str:
    """Return the account that a role or a provider belongs to."""
    return arn.split(":")[3]


def name_of(arn: str) -> str:
    """Return the name of a role without its account."""
    return arn.partition("/")[2]
