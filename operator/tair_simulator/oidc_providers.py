"""Providers of identity tokens that RAM knows, such as a Kubernetes cluster with its key set.

The real RAM asks the issuer for its keys over the internet; here they are written down. What a kube-apiserver shows
under ``/openid/v1/jwks`` can be used as it is.
"""

import binascii
import re
from base64 import urlsafe_b64decode
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from tair_simulator.mistakes import Strict
from tair_simulator.token_signatures import is_es256, is_on_p256, is_rs256

# What the operator and the credential injection of Alibaba Cloud ask a kube-apiserver for.
AUDIENCE = "sts.aliyuncs.com"
# RFC 7518, section 3.3, and enough.
MODULUS_BITS = range(2048, 8193)
EXPONENT_BITS = range(2, 65)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class PublicKey(Strict):
    """A key of a set, RSA or P-256; members that are not known are ignored, as RFC 7517 demands."""

    model_config = ConfigDict(extra="ignore")

    kty: str
    kid: Annotated[str, Field(min_length=1)]
    n: str | None = None
    e: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None

    @field_validator("kty")
    @classmethod
    def _is_of_a_kind_that_is_verified(cls, kind: str) -> str:
        if kind not in {"RSA", "EC"}:
            raise ValueError("must be RSA or EC: the simulator verifies RS256 and ES256")
        return kind

    @field_validator("n", "e", "x", "y")
    @classmethod
    def _is_base64url(cls, text: str | None) -> str | None:
        _number(text)
        return text

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if self.kty == "EC":
            if self.crv != "P-256" or not is_on_p256(self.point):
                raise ValueError("of an EC key, crv must be P-256, and x and y a point of that curve")
        elif self.modulus.bit_length() not in MODULUS_BITS or self.exponent.bit_length() not in EXPONENT_BITS:
            raise ValueError("of an RSA key, n must be a modulus of 2048 to 8192 bits, and e an exponent of 2 to 64")
        return self

    @property
    def algorithm(self) -> str:
        """The algorithm of the tokens that it signs."""
        return "ES256" if self.kty == "EC" else "RS256"

    @property
    def modulus(self) -> int:
        """The product of the two primes."""
        return _number(self.n)

    @property
    def exponent(self) -> int:
        """The public exponent."""
        return _number(self.e)

    @property
    def point(self) -> tuple[int, int]:
        """The point of the curve."""
        return _number(self.x), _number(self.y)

    def has_signed(self, text: bytes, signature: bytes) -> bool:
        """Return whether a signature is of this key and of this text."""
        if self.kty == "EC":
            return is_es256(self.point, text, signature)
        return is_rs256(self.modulus, self.exponent, text, signature)


class KeySet(Strict):
    """A JSON Web Key Set."""

    model_config = ConfigDict(extra="ignore")

    keys: list[PublicKey]


class OidcProvider(Strict):
    """One provider: whose tokens it vouches for, and for whom they may be meant."""

    issuer: Annotated[str, Field(pattern=r"^https?://\S+$")]
    audiences: Annotated[list[str], Field(min_length=1)] = Field(default=[AUDIENCE])
    jwks: KeySet

    def find_key(self, key_id: str) -> PublicKey | None:
        """Return the key of this name."""
        return next((key for key in self.jwks.keys if key.kid == key_id), None)


def decode(text: str) -> bytes:
    """Return what base64url text without padding stands for (RFC 7515, section 2); raise ``ValueError``."""
    if _BASE64URL.fullmatch(text) is None:
        raise ValueError("must be base64url without padding")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("must be base64url without padding") from None


def _number(text: str | None) -> int:
    return 0 if text is None else int.from_bytes(decode(text))
