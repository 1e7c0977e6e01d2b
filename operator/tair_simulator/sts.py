"""The Security Token Service: credentials for a role, in exchange for an access key or an OIDC token.

Each operation first decides, without changing anything, what it would grant; only ``give`` issues credentials. Names,
codes and texts are those of the API pages AssumeRole and AssumeRoleWithOIDC (STS 2015-04-01, Alibaba Cloud help
centre). The surprising fact: the account's own key may assume no role at all.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tair_simulator.authorization import policies_of, principal_of
from tair_simulator.cloud import Cloud
from tair_simulator.errors import missing, refusal
from tair_simulator.identity_tokens import Identity, verify
from tair_simulator.ram import Denial, access_denied, find_denial
from tair_simulator.roles import SHORTEST_SESSION, USUAL_SESSION, Role
from tair_simulator.sessions import as_text, open_session

VERSION = "2015-04-01"
ASSUME_ROLE = "sts:AssumeRole"
NOT_TRUSTED = (
    "No permission perform sts:AssumeRole on this Role. Maybe you are not authorized to perform sts:AssumeRole or the "
    "specified role does not trust you"
)
_ROLE_ARN = re.compile(r"acs:ram::[0-9]+:role/\S+")
_SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}")

Parameters = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller is entitled to."""

    role: str
    session_name: str
    seconds: int
    identity: Identity | None = None


Exchange = Callable[[Cloud, Parameters, str], Grant]


def assume_role(cloud: Cloud, parameters: Parameters, access_key_id: str) -> Grant:
    """Grant a role to an access key, if the key's policies allow it and the role trusts the key."""
    arn, role = _role(cloud, parameters)
    key = cloud.keys[access_key_id]
    policies = policies_of(cloud, key)
    if policies is None:
        raise refusal("NoPermission", "Roles may not be assumed by root accounts.")
    denial = find_denial(policies, ASSUME_ROLE, arn)
    if denial is None and not role.trust.in_key(access_key_id, key.role):
        denial = Denial(explicit=False, policy_type="AssumeRolePolicy")
    if denial is not None:
        raise access_denied("NoPermission", ASSUME_ROLE, denial, principal_of(key), NOT_TRUSTED)
    return _grant(arn, role, parameters)


def assume_role_with_oidc(cloud: Cloud, parameters: Parameters, _access_key_id: str) -> Grant:
    """Grant a role to whoever has a token of a provider for a subject that the role trusts; nothing is signed."""
    for name in ("RoleArn", "OIDCProviderArn", "OIDCToken"):
        _required(parameters, name)
    arn, role = _role(cloud, parameters)
    provider = cloud.directory.oidc_providers.get(parameters["OIDCProviderArn"])
    if provider is None:
        raise refusal("AuthenticationFail.NoPermission", "No such OIDC Provider registered.")
    identity = verify(parameters["OIDCToken"], provider, cloud.clock())
    if not role.trust.in_subject(parameters["OIDCProviderArn"], identity.subject):
        raise refusal("AuthenticationFail.NoPermission")
    return _grant(arn, role, parameters, identity)


def give(cloud: Cloud, grant: Grant) -> dict[str, object]:
    """Issue the credentials; return the fields of the reply."""
    session = open_session(cloud, grant.role, grant.session_name, grant.seconds)
    # The real id of a role is a number of 18 digits; this one only looks like it.
    role_id = f"3{zlib.crc32(grant.role.encode()):017d}"
    user = {"AssumedRoleId": f"{role_id}:{grant.session_name}", "Arn": f"{grant.role}/{grant.session_name}"}
    fields: dict[str, object] = {"AssumedRoleUser": user, "Credentials": session.to_json()}
    return fields if grant.identity is None else {**fields, "OIDCTokenInfo": _token_info(grant.identity)}


SIGNED: dict[str, Exchange] = {"AssumeRole": assume_role}
UNSIGNED: dict[str, Exchange] = {"AssumeRoleWithOIDC": assume_role_with_oidc}


def _role(cloud: Cloud, parameters: Parameters) -> tuple[str, Role]:
    arn = _required(parameters, "RoleArn")
    if _ROLE_ARN.fullmatch(arn) is None:
        raise refusal("InvalidParameter.RoleArn")
    if _SESSION_NAME.fullmatch(_required(parameters, "RoleSessionName")) is None:
        raise refusal("InvalidParameter.RoleSessionName")
    if parameters.get("Policy"):
        raise refusal("InvalidParameter.PolicyGrammar", "The simulator does not know session policies.")
    role = cloud.directory.roles.get(arn)
    if role is None:
        raise refusal("EntityNotExist.Role")
    return arn, role


def _grant(arn: str, role: Role, parameters: Parameters, identity: Identity | None = None) -> Grant:
    text = parameters.get("DurationSeconds") or str(min(USUAL_SESSION, role.max_session_seconds))
    is_number = re.fullmatch(r"[0-9]{1,7}", text, re.ASCII) is not None
    if not is_number or not SHORTEST_SESSION <= int(text) <= role.max_session_seconds:
        raise refusal("InvalidParameter.DurationSeconds")
    return Grant(arn, parameters["RoleSessionName"], int(text), identity)


def _required(parameters: Parameters, name: str) -> str:
    value = parameters.get(name)
    if not value:
        raise missing(name)
    return value


def _token_info(identity: Identity) -> dict[str, str]:
    times = {} if identity.issued_at is None else {"IssuanceTime": as_text(identity.issued_at)}
    return {
        "Subject": identity.subject,
        "Issuer": identity.issuer,
        "ClientIds": ",".join(identity.audiences),
        "ExpirationTime": as_text(identity.expires_at),
        **times,
        "VerificationInfo": "Success",
    }
