"""Identity tokens: whom a genuine one names, and what is wrong with any other."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from tair_simulator.errors import CloudError
from tair_simulator.identity_tokens import Identity, verify
from tair_simulator.mistakes import InputError, parse
from tair_simulator.oidc_providers import OidcProvider, PublicKey
from tair_simulator.token_signatures import is_es256
from tests.unit.simulator.identity import (
    ISSUER,
    SUBJECT,
    Token,
    elliptic_jwk,
    elliptic_signature,
    encoded,
    jwk,
    private_key,
)
from tests.unit.simulator.moving_clock import Time

NOW = Time()()
PROVIDER = parse(
    OidcProvider, {"issuer": ISSUER, "jwks": {"keys": [jwk("first"), jwk("second"), elliptic_jwk("elliptic")]}}
)
GOOD = Token(NOW)
ELLIPTIC = Token(NOW, key="elliptic", header={"alg": "ES256"})
PREFIX = "AuthenticationFail.OIDCToken."
# Of the curve P-256: FIPS 186-4, section D.1.2.3.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def refused(token: str) -> str:
    """Return the code that a token is refused with, without what all of them have in common."""
    with pytest.raises(CloudError) as caught:
        verify(token, PROVIDER, NOW)
    assert caught.value.http_status == 401
    return caught.value.code.removeprefix(PREFIX)


def test_a_genuine_token_names_its_subject() -> None:
    assert verify(str(GOOD), PROVIDER, NOW) == Identity(
        SUBJECT, ISSUER, ("sts.aliyuncs.com",), NOW, NOW + timedelta(hours=1)
    )


@pytest.mark.parametrize(
    "token",
    [
        replace(GOOD, key="second"),
        ELLIPTIC,
        replace(GOOD, claims={"aud": "sts.aliyuncs.com"}),
        replace(GOOD, claims={"aud": ["other", "sts.aliyuncs.com"], "nbf": None, "iat": None}),
        replace(GOOD, claims={"kubernetes.io": {"namespace": "shop"}}),
    ],
)
def test_a_token_may_look_in_several_ways(token: Token) -> None:
    assert verify(str(token), PROVIDER, NOW).subject == SUBJECT


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (replace(GOOD, claims={"exp": int(NOW.timestamp())}), "Expired"),
        (replace(GOOD, issued_at=NOW + timedelta(seconds=1)), "Invalid"),
        (replace(GOOD, claims={"aud": ["https://kubernetes.default.svc"]}), "AudienceNotMatch"),
        (replace(GOOD, claims={"aud": []}), "AudienceNotMatch"),
        (replace(GOOD, claims={"iss": f"{ISSUER}/"}), "IssuerNotMatch"),
        (replace(GOOD, key="unknown"), "PublicKeyFingerprintMismatch"),
        (replace(GOOD, key="unknown", header={"kid": "first"}), "InvalidSignature"),
        (replace(GOOD, header={"alg": "none"}), "Invalid"),
        (replace(GOOD, header={"alg": "HS256"}), "Invalid"),
        (replace(GOOD, header={"alg": "RS512"}), "Invalid"),
        (replace(ELLIPTIC, header={"alg": "ES256", "kid": "first"}), "InvalidSignature"),
        (replace(ELLIPTIC, key="unknown", header={"alg": "ES256", "kid": "elliptic"}), "InvalidSignature"),
        (replace(GOOD, header={"kid": "elliptic"}), "InvalidSignature"),
        (replace(GOOD, header={"kid": None}), "Invalid"),
        (replace(GOOD, header={"crit": ["exp"]}), "Invalid"),
        (replace(GOOD, claims={"sub": None}), "Invalid"),
        (replace(GOOD, claims={"sub": 7}), "Invalid"),
        (replace(GOOD, claims={"exp": None}), "Invalid"),
        (replace(GOOD, claims={"exp": "tomorrow"}), "Invalid"),
        (replace(GOOD, claims={"exp": True}), "Invalid"),
        (replace(GOOD, claims={"exp": float("nan")}), "Invalid"),
        (replace(GOOD, claims={"exp": 1e300}), "Invalid"),
    ],
)
def test_each_thing_that_is_wrong_has_its_code(token: Token, code: str) -> None:
    assert refused(str(token)) == code


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "....",
        f"{GOOD}\n",
        f"{GOOD}=",
        str(GOOD).replace(".", ". ", 1),
        f"{encoded(b'[]')}.{encoded(b'{}')}.{encoded(b'x')}",
        f"{encoded(b'[' * 5000)}.{encoded(b'{}')}.{encoded(b'x')}",
        f"{encoded(bytes([255]))}.{encoded(b'{}')}.{encoded(b'x')}",
        "a" * 20_001,
    ],
)
def test_what_is_no_token_is_invalid(token: str) -> None:
    assert refused(token) == "Invalid"


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_one_changed_letter_is_noticed(place: int, letter: str) -> None:
    text = str(GOOD)
    # The last letter of a part has bits that stand for nothing.
    places = [at for at in range(len(text)) if text[at : at + 1] != "." and text[at + 1 : at + 2] not in {".", ""}]
    at = places[place % len(places)]
    changed = text[:at] + letter + text[at + 1 :]

    if changed != text:
        with pytest.raises(CloudError, match="AuthenticationFail"):
            verify(changed, PROVIDER, NOW)


@given(st.binary(max_size=100))
def test_signatures_of_another_implementation_are_accepted(text: bytes) -> None:
    signature = private_key("first").sign(text, padding.PKCS1v15(), SHA256())

    assert parse(PublicKey, jwk()).has_signed(text, signature)
    assert not parse(PublicKey, jwk("second")).has_signed(text, signature)
    assert not parse(PublicKey, jwk()).has_signed(text + b"x", signature)


def forged(message: bytes) -> bytes:
    """Return the signature that opens to this message, which only the owner of the key can make."""
    numbers = private_key("first").private_numbers()
    return pow(int.from_bytes(message), numbers.d, numbers.public_numbers.n).to_bytes(256)


def test_only_the_one_right_padding_is_accepted() -> None:
    key, text = parse(PublicKey, jwk()), b"text"
    end = b"\x00" + bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(text).digest()
    right = b"\x00\x01" + b"\xff" * (254 - len(end)) + end
    wrong = [
        b"\x00\x02" + right[2:],
        right[:10] + b"\xfe" + right[11:],
        # Short padding and something behind the hash: what fooled implementations that parse.
        (b"\x00\x01" + b"\xff" * 8 + end).ljust(256, b"\x00"),
        b"\x00\x01" + b"\xff" * 221 + b"\x00" + hashlib.sha256(text).digest(),
    ]

    assert key.has_signed(text, forged(right))
    assert not any(key.has_signed(text, forged(message)) for message in wrong)


def test_a_signature_of_the_wrong_size_is_none() -> None:
    key, signature = parse(PublicKey, jwk()), private_key("first").sign(b"text", padding.PKCS1v15(), SHA256())

    for other in (signature[:-1], b"\x00" + signature, b"\xff" * 256, b""):
        assert not key.has_signed(b"text", other)


def test_another_hash_is_not_accepted() -> None:
    signature = private_key("first").sign(b"text", padding.PKCS1v15(), SHA1())  # noqa: S303 - must be refused

    assert not parse(PublicKey, jwk()).has_signed(b"text", signature)


RSA_IS = "jwks.keys.0: of an RSA key, n must be a modulus of 2048 to 8192 bits, and e an exponent of 2 to 64"
EC_IS = "jwks.keys.0: of an EC key, crv must be P-256, and x and y a point of that curve"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"kty": "oct"}, "jwks.keys.0.kty: must be RSA or EC: the simulator verifies RS256 and ES256"),
        ({"kid": ""}, "jwks.keys.0.kid: String should have at least 1 character"),
        ({"n": 7}, "jwks.keys.0.n: must be text; put it in quotes"),
        ({"n": "AQAB"}, RSA_IS),
        ({"e": "AQ"}, RSA_IS),
        ({"n": "not base64"}, "jwks.keys.0.n: must be base64url without padding"),
        ({"n": "A" * 5}, "jwks.keys.0.n: must be base64url without padding"),
        ({"e": None}, RSA_IS),
        ({**elliptic_jwk(), "crv": "P-384"}, EC_IS),
        ({**elliptic_jwk(), "x": "AQAB"}, EC_IS),
        ({**elliptic_jwk(), "y": None}, EC_IS),
    ],
)
def test_a_key_that_cannot_be_used_is_a_mistake(change: dict[str, object], line: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(OidcProvider, {"issuer": ISSUER, "jwks": {"keys": [{**jwk(), **change}]}})

    assert caught.value.lines == [line]


@given(st.binary(max_size=100))
@settings(max_examples=20)
def test_elliptic_signatures_of_another_implementation_are_accepted(text: bytes) -> None:
    key, other, signature = (
        parse(PublicKey, elliptic_jwk()),
        parse(PublicKey, elliptic_jwk("other")),
        elliptic_signature("elliptic", text),
    )

    assert key.has_signed(text, signature)
    assert not other.has_signed(text, signature)
    assert not key.has_signed(text + b"x", signature)


def test_an_elliptic_signature_has_two_numbers_of_the_right_size() -> None:
    key, good = parse(PublicKey, elliptic_jwk()), elliptic_signature("elliptic", b"text")

    for other in (b"", good[:-1], good + b"x", bytes(64), bytes(32) + good[32:], good[:32] + ORDER.to_bytes(32)):
        assert not key.has_signed(b"text", other)


def test_points_that_cancel_out_are_no_signature() -> None:
    """With the base point as its key, digest + r = 0 modulo the order makes the sum the point at infinity."""
    digest = int.from_bytes(hashlib.sha256(b"text").digest())
    r = -digest % ORDER

    assert not is_es256(BASE, b"text", r.to_bytes(32) + (1).to_bytes(32))


def test_a_number_doubled_is_added_to_itself() -> None:
    """With the base point as its key and r equal to the digest, both halves of the sum are the same point."""
    r = int.from_bytes(hashlib.sha256(b"text").digest())

    assert not is_es256(BASE, b"text", r.to_bytes(32) + (1).to_bytes(32))


def test_a_key_set_of_a_kube_apiserver_can_be_used_as_it_is() -> None:
    shown = json.dumps({"keys": [jwk()], "more": "than we know"})

    read = parse(OidcProvider, {"issuer": ISSUER, "jwks": json.loads(shown)})

    assert [key.kid for key in read.jwks.keys] == ["first"]
