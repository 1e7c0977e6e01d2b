"""Verification of ACS3-HMAC-SHA256 signatures, in pure, named steps.

Source: "V3 request body & signature mechanism" in the Alibaba Cloud help centre. Each step takes values and returns a
value, so each is checked against the published vector on its own. The surprising fact: the query is not compared as
it was sent. The server decodes it and encodes it again by RFC 3986, because clients write a space as ``+`` or
``%20``.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from tair_simulator.errors import CloudError, refusal

ALGORITHM = "ACS3-HMAC-SHA256"
FORM = "application/x-www-form-urlencoded"
REQUIRED_HEADERS = (
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
)
_AUTHORIZATION = re.compile(r"Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([^,\s]+)")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it arrived: header names in lower case, the query still encoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def parameters(self) -> dict[str, str]:
        """Return what the query and a form body hold, the query first."""
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        form = self.body.decode(errors="replace") if content_type == FORM else ""
        return dict(parse_qsl(form, keep_blank_values=True)) | dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Authorization:
    """What the client says about its signature."""

    access_key_id: str
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(value: str) -> Authorization:
    """Read an ``Authorization`` header; raise ``InvalidSignatureMethod`` or ``IncompleteSignature``."""
    algorithm, _, rest = value.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise refusal("InvalidSignatureMethod")
    found = _AUTHORIZATION.fullmatch(rest.strip())
    if found is None:
        raise refusal("IncompleteSignature")
    access_key_id, names, signature = found.groups()
    return Authorization(access_key_id, tuple(names.split(";")), signature)


def check_signed_headers(request: SignedRequest, authorization: Authorization) -> None:
    """Refuse a request where a header that must be signed is not.

    That every common header must be signed is documented; that an unsigned content-type passes is a guess from
    Alibaba's own asynchronous SDK, which sends one.
    """
    must = {*REQUIRED_HEADERS, *(name for name in request.headers if name.startswith("x-acs-"))}
    signed = set(authorization.signed_headers)
    if must - signed or signed - set(request.headers):
        raise refusal("IncompleteSignature")


def canonical_query(query: str) -> str:
    """Return a query string decoded, sorted by name, and encoded again by RFC 3986."""
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in pairs)


def canonical_request(request: SignedRequest, signed_headers: tuple[str, ...]) -> str:
    """Return the text whose hash is signed; exactly the client's own signed headers, in the client's own order."""
    lines = (f"{name}:{request.headers[name].strip()}\n" for name in signed_headers)
    return "\n".join(
        [
            request.method,
            request.path,
            canonical_query(request.query),
            "".join(lines),
            ";".join(signed_headers),
            body_hash(request.body),
        ]
    )


def body_hash(body: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256 of a body."""
    return hashlib.sha256(body).hexdigest()


def string_to_sign(canonical: str) -> str:
    """Return the algorithm and the hash of the canonical request, as the client signed them."""
    return f"{ALGORITHM}\n{hashlib.sha256(_bytes(canonical)).hexdigest()}"


def sign(secret: str, text: str) -> str:
    """Return the lower-case hexadecimal HMAC-SHA256 of a string to sign; the secret is used as it is."""
    return hmac.new(_bytes(secret), text.encode(), hashlib.sha256).hexdigest()


def check_signature(request: SignedRequest, authorization: Authorization, secret: str) -> None:
    """Compare the client's signature with our own; raise ``SignatureDoesNotMatch``.

    The message repeats what the server hashed, session token included. The real cloud does that too, which is why a
    client must never store such a message unredacted.
    """
    canonical = canonical_request(request, authorization.signed_headers)
    text = string_to_sign(canonical)
    claims = request.headers["x-acs-content-sha256"].strip()
    genuine = hmac.compare_digest(sign(secret, text).encode(), _bytes(authorization.signature))
    if not genuine or claims != body_hash(request.body):
        raise _mismatch(text, canonical)


def _mismatch(text: str, canonical: str) -> CloudError:
    # The exact wording is a guess after third-party notes.
    return CloudError(
        "SignatureDoesNotMatch",
        "Specified signature does not match our calculation. "
        f"server StringToSign is [{text}] server CanonicalRequest is [{canonical}]",
        http_status=400,
    )


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _bytes(text: str) -> bytes:
    # The web server hands on header bytes that are not UTF-8 as lone surrogates; this gives the same bytes back.
    return text.encode(errors="surrogateescape")
