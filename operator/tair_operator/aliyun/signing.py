"""Alibaba Cloud's signature version 3, ACS3-HMAC-SHA256, as the named steps of its specification.

Pure: time and nonce are arguments, so each step is tested by calling it. A
signature is refused without saying where it went wrong; when that happens,
compare the steps one by one, in the order in which they stand here.

Source: "Request syntax and signature method V3" in the Alibaba Cloud help
centre. Unlike AWS, there is no derived key: the AccessKey secret signs directly.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

ALGORITHM = "ACS3-HMAC-SHA256"
EMPTY_BODY_HASH = hashlib.sha256(b"").hexdigest()


def common_headers(
    *, host: str, action: str, version: str, timestamp: datetime, nonce: str, body_hash: str = EMPTY_BODY_HASH
) -> dict[str, str]:
    """Return the headers that every request carries and signs.

    ``host`` is what goes into the Host header, with the port if the URL has one.
    ``timestamp`` is aware; the cloud accepts 15 minutes either way. ``nonce`` is
    never used twice.
    """
    return {
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": body_hash,
        "x-acs-date": timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
        "x-acs-version": version,
    }


def token_headers(access_key_id: str, security_token: str) -> dict[str, str]:
    """Return what is signed in addition when the credentials are temporary ones from STS."""
    return {"x-acs-accesskey-id": access_key_id, "x-acs-security-token": security_token}


def canonical_query(parameters: Mapping[str, str]) -> str:
    """Return the query string, sorted by name and percent-encoded as RFC 3986 says.

    Send exactly this string: the cloud decodes and encodes what it received, and
    an encoder with other habits (a space as +) invites a difference.
    """
    return "&".join(f"{_encode(name)}={_encode(parameters[name])}" for name in sorted(parameters))


def canonical_request(method: str, path: str, query: str, headers: Mapping[str, str], body_hash: str) -> str:
    """Return the request in the form that both sides hash; every header that is given is signed."""
    by_name = {name.lower(): value.strip() for name, value in headers.items()}
    lines = "".join(f"{name}:{by_name[name]}\n" for name in sorted(by_name))
    return "\n".join((method, path, query, lines, signed_headers(headers), body_hash))


def signed_headers(headers: Mapping[str, str]) -> str:
    """Return the names of the signed headers in their order."""
    return ";".join(sorted(name.lower() for name in headers))


def string_to_sign(request: str) -> str:
    """Return the algorithm and the hash of the canonical request."""
    return f"{ALGORITHM}\n{hashlib.sha256(request.encode()).hexdigest()}"


def signature(access_key_secret: str, text: str) -> str:
    """Return the signature of a string to sign, in lower-case hexadecimal."""
    return hmac.new(access_key_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def authorization(access_key_id: str, names: str, signed: str) -> str:
    """Return the value of the Authorization header. There is no space after the commas."""
    return f"{ALGORITHM} Credential={access_key_id},SignedHeaders={names},Signature={signed}"


def sign(
    headers: Mapping[str, str],
    *,
    query: str,
    access_key_id: str,
    access_key_secret: str,
    security_token: str | None,
    body_hash: str = EMPTY_BODY_HASH,
) -> dict[str, str]:
    """Return the headers of a POST with those that prove who sends it; all that are given are signed."""
    proven = dict(headers)
    if security_token is not None:
        proven |= token_headers(access_key_id, security_token)
    text = string_to_sign(canonical_request("POST", "/", query, proven, body_hash))
    signed = signature(access_key_secret, text)
    return proven | {"authorization": authorization(access_key_id, signed_headers(proven), signed)}


def _encode(text: str) -> str:
    return quote(text, safe="~")
