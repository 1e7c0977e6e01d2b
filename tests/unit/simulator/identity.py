"""A provider of identity tokens, signed with real keys, as a Kubernetes cluster is one."""

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ISSUER = "https://kubernetes.default.svc"
PROVIDER = "acs:ram::1234567890123456:oidc-provider/cluster"
SUBJECT = "system:serviceaccount:shop:orders"


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(data).decode().rstrip("=")


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """Return the same key for the same name, since making one takes a while."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def elliptic_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the same key for the same name."""
    assert name
    return ec.generate_private_key(ec.SECP256R1())


def elliptic_jwk(name: str = "elliptic") -> dict[str, object]:
    """Return the public half of such a key as a kube-apiserver shows it."""
    numbers = elliptic_key(name).public_key().public_numbers()
    x, y = (encoded(number.to_bytes(32)) for number in (numbers.x, numbers.y))
    return {"use": "sig", "kty": "EC", "kid": name, "alg": "ES256", "crv": "P-256", "x": x, "y": y}


def elliptic_signature(name: str, text: bytes) -> bytes:
    """Return a signature as a JSON Web Token has it."""
    return b"".join(
        number.to_bytes(32) for number in decode_dss_signature(elliptic_key(name).sign(text, ec.ECDSA(SHA256())))
    )


def jwk(name: str = "first") -> dict[str, object]:
    """Return the public half of a key as a kube-apiserver shows it."""
    numbers = private_key(name).public_key().public_numbers()
    n, e = (encoded(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
    return {"use": "sig", "kty": "RSA", "kid": name, "alg": "RS256", "n": n, "e": e}


def provider(*names: str) -> dict[str, object]:
    """Return a provider as a seed describes it."""
    return {"issuer": ISSUER, "jwks": {"keys": [jwk(name) for name in names or ("first",)]}}


@dataclass(frozen=True)
class Token:
    """An identity token; ``claims`` and ``header`` replace what is usual, and leave out what is None."""

    issued_at: datetime
    subject: str = SUBJECT
    key: str = "first"
    claims: dict[str, object] = field(default_factory=dict)
    header: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{_json(self._header())}.{_json(self._claims())}"
        if self.header.get("alg") == "ES256":
            return f"{text}.{encoded(elliptic_signature(self.key, text.encode()))}"
        return f"{text}.{encoded(private_key(self.key).sign(text.encode(), padding.PKCS1v15(), SHA256()))}"

    def _header(self) -> dict[str, object]:
        return {"alg": "RS256", "kid": self.key, **self.header}

    def _claims(self) -> dict[str, object]:
        times = {
            "iat": int(self.issued_at.timestamp()),
            "nbf": int(self.issued_at.timestamp()),
            "exp": int((self.issued_at + timedelta(hours=1)).timestamp()),
        }
        return {"iss": ISSUER, "sub": self.subject, "aud": ["sts.aliyuncs.com"], **times, **self.claims}


def _json(value: dict[str, object]) -> str:
    return encoded(json.dumps({name: part for name, part in value.items() if part is not None}).encode())
