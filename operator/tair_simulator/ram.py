"""RAM: whether the policies of an access key permit a call, decided as Alibaba Cloud decides it.

An explicit Deny wins over every Allow, and what nothing allows is denied implicitly. A key without policies belongs to
the account itself and may do everything; one with an empty list may do nothing. The surprising fact: the actions of
R-kvstore begin with ``kvstore:``, so a policy for ``r-kvstore:*`` permits nothing at all.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tair_simulator.errors import CloudError, refusal
from tair_simulator.mistakes import Strict

ACCOUNT_ID = "1234567890123456"

ActionPattern = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$")]
ResourcePattern = Annotated[str, Field(pattern=r"^(\*|acs:\S+)$")]
PolicyType = Literal[
    "AccountLevelIdentityBasedPolicy",
    "ResourceGroupLevelIdentityBasedPolicy",
    "ControlPolicy",
    "SessionPolicy",
    "AssumeRolePolicy",
]


class Statement(Strict):
    """One statement of a policy; ``*`` and ``?`` match any characters and any one character."""

    effect: Literal["Allow", "Deny"]
    actions: Annotated[list[ActionPattern], Field(min_length=1)]
    resources: Annotated[list[ResourcePattern], Field(min_length=1)] = Field(default=["*"])
    policy_type: PolicyType = "AccountLevelIdentityBasedPolicy"

    def covers(self, action: str, resource: str) -> bool:
        """Return whether the statement is about this call; that actions compare without case is a guess."""
        return any(matches(pattern.lower(), action.lower()) for pattern in self.actions) and any(
            matches(pattern, resource) for pattern in self.resources
        )


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a call is not permitted."""

    explicit: bool
    policy_type: PolicyType


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as ``AccessDeniedDetail`` names it."""

    account_id: str
    kind: str
    display_name: str


def find_denial(statements: Iterable[Statement], action: str, resource: str) -> Denial | None:
    """Return why these statements deny a call, or ``None`` if they permit it."""
    concerned = [statement for statement in statements if statement.covers(action, resource)]
    for statement in concerned:
        if statement.effect == "Deny":
            return Denial(explicit=True, policy_type=statement.policy_type)
    if concerned:
        return None
    return Denial(explicit=False, policy_type="AccountLevelIdentityBasedPolicy")


def resource_name(region_id: str, account_id: str, instance_id: str) -> str:
    """Return the name of an instance in policies; ``*`` as the instance stands for all of them."""
    return f"acs:kvstore:{region_id}:{account_id}:instance/{instance_id}"


def access_denied(
    code: str, action: str, denial: Denial, principal: Principal, message: str | None = None
) -> CloudError:
    """Return the refusal with its ``AccessDeniedDetail``, and with its usual text unless another one is given."""
    # A guess: the real message is encrypted, and ram:DecodeDiagnosticMessage reads it. This one only looks like it.
    diagnosis = b64encode(f"simulated:{action}:{principal.account_id}".encode()).decode()
    detail = {
        "AuthAction": action,
        "AuthPrincipalType": principal.kind,
        "AuthPrincipalOwnerId": principal.account_id,
        "AuthPrincipalDisplayName": principal.display_name,
        "NoPermissionType": "ExplicitDeny" if denial.explicit else "ImplicitDeny",
        "PolicyType": denial.policy_type,
        "EncodedDiagnosticMessage": diagnosis,
    }
    return refusal(code, message, access_denied_detail=detail)


def matches(pattern: str, text: str) -> bool:
    """Return whether a text is as a pattern with ``*`` and ``?`` wants it."""
    expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None
