"""Verification of the older RPC signature, version 1.0 with HMAC-SHA1, in pure, named steps.

All of it is in the parameters, the signature included. Alibaba's own package of credential providers still signs
AssumeRole in this way. Source: "Request syntax and signature method V2 for Alibaba Cloud RPC-style APIs".
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote

from tair_simulator.errors import CloudError, missing, refusal

METHOD = "HMAC-SHA1"
VERSION = "1.0"
REQUIRED = ("AccessKeyId", "SignatureMethod", "SignatureNonce", "SignatureVersion", "Timestamp")


def is_signed(parameters: Mapping[str, str]) -> bool:
    """Return whether these parameters claim a signature."""
    return "Signature" in parameters


def check_form(parameters: Mapping[str, str]) -> None:
    """Refuse parameters without one that a signature needs, and other kinds of signatures."""
    for name in REQUIRED:
        if not parameters.get(name):
            raise missing(name)
    if (parameters["SignatureMethod"], parameters["SignatureVersion"]) != (METHOD, VERSION):
        raise refusal("InvalidSignatureMethod")


def string_to_sign(method: str, parameters: Mapping[str, str]) -> str:
    """Return the method and the parameters but for the signature, sorted and encoded, as the client signed them."""
    pairs = sorted((name, value) for name, value in parameters.items() if name != "Signature")
    query = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in pairs)
    return f"{method}&%2F&{_encode(query)}"


def sign(secret: str, text: str) -> str:
    """Return the base64 HMAC-SHA1 of a string to sign; the key is the secret and an ampersand."""
    return b64encode(hmac.digest(f"{secret}&".encode(errors="surrogateescape"), text.encode(), "sha1")).decode()


def check_signature(method: str, parameters: Mapping[str, str], secret: str) -> None:
    """Compare the client's signature with our own; raise ``SignatureDoesNotMatch`` with what the server signed."""
    text = string_to_sign(method, parameters)
    if not hmac.compare_digest(sign(secret, text).encode(), parameters["Signature"].encode()):
        raise CloudError(
            "SignatureDoesNotMatch",
            f"Specified signature does not match our calculation. server string to sign is:{text}",
            http_status=400,
        )


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
