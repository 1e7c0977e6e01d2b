"""Verification of OIDC tokens: signed JSON Web Tokens, such as those of Kubernetes ServiceAccounts.

Pure: a token, the provider that must have issued it and a moment in, the identity out. The order of the checks is a
guess; before the signature only the issuer and the id of the key are looked at, to say which of them is unknown. The
surprising fact: STS has a code for each thing that can be wrong, and answers all of them with 401.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tair_simulator.errors import CloudError, refusal
from tair_simulator.oidc_providers import OidcProvider, decode

ALGORITHMS = ("RS256", "ES256")
# API page AssumeRoleWithOIDC.
SHORTEST_TOKEN = 4
LONGEST_TOKEN = 20_000

Seconds = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]


class Claims(BaseModel):
    """What a token says; claims that STS does not look at are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)

    iss: str
    sub: str
    aud: str | list[str]
    exp: Seconds
    nbf: Seconds | None = None
    iat: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a genuine token names."""

    subject: str
    issuer: str
    audiences: tuple[str, ...]
    issued_at: datetime | None
    expires_at: datetime


def verify(token: str, provider: OidcProvider, now: datetime) -> Identity:
    """Return whom a token of this provider names; raise the ``AuthenticationFail.OIDCToken`` code of what is wrong."""
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        raise _invalid("The OIDCToken must have 4 to 20000 characters.")
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    if not header or not payload or "." in payload:
        raise _invalid("The number of Jwt field should be divided into 3 parts with '.' .")
    algorithm, key_id = _key(_object(header))
    claims = _claims(_object(payload))
    if claims.iss != provider.issuer:
        raise refusal("AuthenticationFail.OIDCToken.IssuerNotMatch")
    key = provider.find_key(key_id)
    if key is None:
        raise refusal("AuthenticationFail.OIDCToken.PublicKeyFingerprintMismatch")
    if key.algorithm != algorithm or not key.has_signed(signed.encode(), _bytes(signature)):
        raise refusal("AuthenticationFail.OIDCToken.InvalidSignature")
    _check_time(claims, now)
    audiences = (claims.aud,) if isinstance(claims.aud, str) else tuple(claims.aud)
    if not set(audiences) & set(provider.audiences):
        raise refusal("AuthenticationFail.OIDCToken.AudienceNotMatch")
    issued_at = None if claims.iat is None else _moment(claims.iat)
    return Identity(claims.sub, claims.iss, audiences, issued_at, _moment(claims.exp))


def _key(header: Mapping[str, object]) -> tuple[str, str]:
    """Return the algorithm and the id of the key that a header names. That ES256 is known to STS is a guess."""
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _invalid(
            "The algorithm that be specified in Jwt header is unknown. The simulator verifies RS256 and ES256."
        )
    if not isinstance(key_id, str) or "crit" in header:
        raise refusal("AuthenticationFail.OIDCToken.Invalid")
    return str(algorithm), key_id


def _claims(written: Mapping[str, object]) -> Claims:
    try:
        return Claims.model_validate(written)
    except ValidationError:
        raise refusal("AuthenticationFail.OIDCToken.Invalid") from None


def _check_time(claims: Claims, now: datetime) -> None:
    if now >= _moment(claims.exp):
        raise refusal("AuthenticationFail.OIDCToken.Expired")
    if claims.nbf is not None and now < _moment(claims.nbf):
        raise _invalid("The Jwt is not valid yet.")


def _object(text: str) -> Mapping[str, object]:
    try:
        value = json.loads(_bytes(text))
    except (ValueError, RecursionError):
        raise refusal("AuthenticationFail.OIDCToken.Invalid") from None
    if not isinstance(value, dict):
        raise refusal("AuthenticationFail.OIDCToken.Invalid")
    return value


def _bytes(text: str) -> bytes:
    try:
        return decode(text)
    except ValueError:
        raise _invalid("Cannot decode base64 encoded response(format invalided).") from None


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _invalid(message: str) -> CloudError:
    return refusal("AuthenticationFail.OIDCToken.Invalid", message)
