"""The two signatures of identity tokens that the simulator verifies: RS256 and ES256 (RFC 7518, section 3.1).

They are written out because the simulator must not need a cryptographic library. That is safe here and nowhere else:
verification uses public numbers only, so nothing is lost by the time that the arithmetic takes. Never sign with it.
"""

import hashlib

# The identifier of SHA-256 as RFC 8017, section 9.2, note 1 writes it in front of the hash.
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")

# The curve P-256: y^2 = x^3 - 3x + B modulo P, with a base point of order N (FIPS 186-4, section D.1.2.3).
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Point = tuple[int, int]


def is_rs256(modulus: int, exponent: int, text: bytes, signature: bytes) -> bool:
    """Return whether a signature is that of the text: RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017 section 8.2.2.

    The padding is built and compared as a whole, never parsed: parsers of it have been fooled.
    """
    size = (modulus.bit_length() + 7) // 8
    number = int.from_bytes(signature)
    if len(signature) != size or number >= modulus:
        return False
    end = b"\x00" + _SHA256 + hashlib.sha256(text).digest()
    expected = b"\x00\x01".ljust(size - len(end), b"\xff") + end
    return pow(number, exponent, modulus).to_bytes(size) == expected


def is_es256(key: Point, text: bytes, signature: bytes) -> bool:
    """Return whether a signature is that of the text: ECDSA on P-256 with SHA-256, FIPS 186-4 section 6.4.

    A signature is its two numbers one after the other, 32 bytes each (RFC 7518, section 3.4), and not DER.
    """
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if len(signature) != 64 or not 0 < r < _N or not 0 < s < _N:  # noqa: PLR2004 - as the docstring says
        return False
    inverse = pow(s, -1, _N)
    digest = int.from_bytes(hashlib.sha256(text).digest())
    point = _add(_multiply(digest * inverse % _N, _BASE), _multiply(r * inverse % _N, key))
    return point is not None and point[0] % _N == r


def is_on_p256(point: Point) -> bool:
    """Return whether a point is on the curve, and so can be a key."""
    x, y = point
    return 0 <= x < _P and 0 <= y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0


def _multiply(times: int, point: Point | None) -> Point | None:
    total: Point | None = None
    while times:
        if times & 1:
            total = _add(total, point)
        point = _add(point, point)
        times >>= 1
    return total


def _add(one: Point | None, other: Point | None) -> Point | None:
    """Return the sum of two points; ``None`` is the point at infinity."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % _P == 0:
            return None
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, _P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, _P)
    x = (slope * slope - one[0] - other[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P
