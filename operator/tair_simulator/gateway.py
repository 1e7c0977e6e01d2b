"""The gate in front of the API: who is calling, and is this request fresh.

A request is signed in its headers (ACS3-HMAC-SHA256) or, in the older way, in its parameters (HMAC-SHA1); the checks
are the same. ``Gate.admit`` runs them in the order of the list below and raises the first refusal. The order of the
real gateway is not documented, so it is a guess: cheap checks on the form first, then the key, then the signature, and
only a genuine request uses up its nonce.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tair_simulator import rpc_signature
from tair_simulator.access_keys import AccessKey, Token, is_expired
from tair_simulator.errors import CloudError, missing, refusal
from tair_simulator.signature import (
    REQUIRED_HEADERS,
    SignedRequest,
    check_signature,
    check_signed_headers,
    parse_authorization,
)

# Source: table of common errors in the Alibaba Cloud help centre; a request is valid for 15 minutes either way.
FRESHNESS = timedelta(minutes=15)
NONCES_PER_KEY = 200_000
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class Nonces:
    """The nonces that were used, per access key; the oldest are forgotten first when there are too many."""

    def __init__(self, limit: int = NONCES_PER_KEY) -> None:
        self._limit = limit
        self._used: dict[str, dict[str, datetime]] = {}

    def use(self, access_key_id: str, nonce: str, now: datetime) -> None:
        """Remember a nonce; raise ``SignatureNonceUsed`` if it is known.

        A date may lie in the future by as much as in the past, so a request can be repeated for twice that long.
        """
        used = self._used.setdefault(access_key_id, {})
        while used and next(iter(used.values())) < now - 2 * FRESHNESS:
            del used[next(iter(used))]
        if nonce in used:
            raise refusal("SignatureNonceUsed")
        used[nonce] = now
        if len(used) > self._limit:
            del used[next(iter(used))]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about itself; ``check`` compares its signature with that of a secret."""

    access_key_id: str
    token: str | None
    date: str
    nonce: str
    check: Callable[[str], None]


class Gate:
    """Decides whether a request is genuine; remembers nothing but nonces."""

    def __init__(self, keys: Mapping[str, AccessKey], nonces: Nonces | None = None) -> None:
        self._keys = keys
        self._nonces = nonces or Nonces()

    def known(self, request: SignedRequest) -> str | None:
        """Return the id of the access key that the request names, if there is such a key; proves nothing about it."""
        try:
            claimed = read_claim(request).access_key_id
        except CloudError:
            return None
        return claimed if claimed in self._keys else None

    def admit(self, request: SignedRequest, now: datetime) -> str:
        """Return the access key id of a genuine request; raise the refusal of the first check that fails."""
        claim = read_claim(request)
        check_date(claim.date, now)
        key = self._key(claim.access_key_id)
        self._check_token(key, claim.token, now)
        claim.check(key.secret.get_secret_value())
        self._nonces.use(claim.access_key_id, claim.nonce, now)
        return claim.access_key_id

    def _key(self, access_key_id: str) -> AccessKey:
        key = self._keys.get(access_key_id)
        if key is None:
            raise refusal("InvalidAccessKeyId.NotFound")
        if key.status == "Inactive":
            raise refusal("InvalidAccessKeyId.Inactive")
        return key

    def _check_token(self, key: AccessKey, token: str | None, now: datetime) -> None:
        if token is None:
            if key.all_tokens():
                raise refusal("MissingSecurityToken")
            return
        own = _found(key, token)
        if own is None:
            # A guess: a token that some other key has is "mismatched", one that nobody has is "malformed".
            somebody_has_it = any(_found(other, token) for other in self._keys.values())
            raise refusal(f"InvalidSecurityToken.{'MismatchWithAccessKey' if somebody_has_it else 'Malformed'}")
        if is_expired(own, now):
            raise refusal("InvalidSecurityToken.Expired")


def read_claim(request: SignedRequest) -> Claim:
    """Return what a request claims; raise the refusal of one that is not well formed."""
    parameters = request.parameters()
    if "authorization" not in request.headers and rpc_signature.is_signed(parameters):
        return _claim_in_parameters(request.method, parameters)
    check_present(request)
    authorization = parse_authorization(request.headers["authorization"])
    check_signed_headers(request, authorization)
    return Claim(
        access_key_id=authorization.access_key_id,
        token=request.headers.get("x-acs-security-token"),
        date=request.headers["x-acs-date"],
        nonce=request.headers["x-acs-signature-nonce"],
        check=lambda secret: check_signature(request, authorization, secret),
    )


def check_present(request: SignedRequest) -> None:
    """Refuse a request without one of the headers that a signature needs."""
    for name in ("authorization", *REQUIRED_HEADERS):
        if not request.headers.get(name):
            raise missing(name)


def check_date(value: str, now: datetime) -> None:
    """Refuse a date that is not exactly ``yyyy-MM-ddTHH:mm:ssZ``, or more than 15 minutes away from ``now``."""
    if _DATE.fullmatch(value) is None:
        raise refusal("InvalidTimeStamp.Format")
    try:
        date = datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise refusal("InvalidTimeStamp.Format") from None
    if abs(now - date) > FRESHNESS:
        raise refusal("InvalidTimeStamp.Expired")


def _claim_in_parameters(method: str, parameters: Mapping[str, str]) -> Claim:
    rpc_signature.check_form(parameters)
    return Claim(
        access_key_id=parameters["AccessKeyId"],
        token=parameters.get("SecurityToken"),
        date=parameters["Timestamp"],
        nonce=parameters["SignatureNonce"],
        check=lambda secret: rpc_signature.check_signature(method, parameters, secret),
    )


def _found(key: AccessKey, token: str) -> Token | None:
    return next((own for own in key.all_tokens() if _same(own, token)), None)


def _same(own: Token, token: str) -> bool:
    return hmac.compare_digest(own.token.get_secret_value().encode(), token.encode(errors="surrogateescape"))
