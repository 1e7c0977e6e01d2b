"""The gate: dates, nonces, keys and tokens."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tair_simulator.access_keys import AccessKey
from tair_simulator.errors import CloudError
from tair_simulator.gateway import Gate, Nonces, check_date
from tair_simulator.signature import SignedRequest, body_hash, canonical_request, sign, string_to_sign

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = {
    "plain": AccessKey(secret=SecretStr("s1")),
    "disabled": AccessKey(secret=SecretStr("s2"), status="Inactive"),
    "sts": AccessKey(secret=SecretStr("s3"), security_token=SecretStr("t3"), expiration=NOW + timedelta(hours=1)),
    "other": AccessKey(secret=SecretStr("s4"), security_token=SecretStr("t4")),
}


def signed(
    key: str = "plain", signing_key: str = "s1", *, token: str | None = None, nonce: str = "n1", at: datetime = NOW
) -> SignedRequest:
    """Return a well-signed request."""
    headers = {
        "host": "127.0.0.1:1",
        "x-acs-action": "DescribeInstances",
        "x-acs-content-sha256": body_hash(b""),
        "x-acs-date": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
        "x-acs-version": "2015-01-01",
        **({"x-acs-security-token": token} if token else {}),
    }
    request = SignedRequest("GET", "/", "RegionId=cn-x", headers, b"")
    names = tuple(sorted(headers))
    signature = sign(signing_key, string_to_sign(canonical_request(request, names)))
    value = f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={';'.join(names)},Signature={signature}"
    return replace(request, headers={**headers, "authorization": value})


def refused(step: Callable[[], object]) -> tuple[int, str]:
    """Return the HTTP status and the code of a refusal."""
    with pytest.raises(CloudError) as caught:
        step()
    return caught.value.http_status, caught.value.code


def test_admits_a_genuine_request() -> None:
    assert Gate(KEYS).admit(signed(), NOW) == "plain"
    assert Gate(KEYS).admit(signed("sts", "s3", token="t3"), NOW) == "sts"


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "host",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
    ],
)
def test_names_the_header_that_is_missing(name: str) -> None:
    headers = {other: value for other, value in signed().headers.items() if other != name}

    with pytest.raises(CloudError, match=f'400 MissingParameter: The input parameter "{name}"'):
        Gate(KEYS).admit(replace(signed(), headers=headers), NOW)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (signed("nobody"), (404, "InvalidAccessKeyId.NotFound")),
        (signed("disabled", "s2"), (400, "InvalidAccessKeyId.Inactive")),
        (signed(signing_key="wrong"), (400, "SignatureDoesNotMatch")),
        (signed("sts", "s3"), (400, "MissingSecurityToken")),
        (signed("sts", "s3", token="t4"), (400, "InvalidSecurityToken.MismatchWithAccessKey")),
        (signed("sts", "s3", token="nonsense"), (400, "InvalidSecurityToken.Malformed")),
        (signed(token="t3"), (400, "InvalidSecurityToken.MismatchWithAccessKey")),
        (signed(at=NOW - timedelta(minutes=15, seconds=1)), (400, "InvalidTimeStamp.Expired")),
        (signed(at=NOW + timedelta(minutes=15, seconds=1)), (400, "InvalidTimeStamp.Expired")),
    ],
)
def test_refuses_with_the_documented_code(request_: SignedRequest, expected: tuple[int, str]) -> None:
    assert refused(lambda: Gate(KEYS).admit(request_, NOW)) == expected


def test_a_token_expires() -> None:
    later = NOW + timedelta(hours=1)

    expired = refused(lambda: Gate(KEYS).admit(signed("sts", "s3", token="t3", at=later), later))

    assert expired == (400, "InvalidSecurityToken.Expired")


def test_during_a_rotation_both_tokens_are_good_until_the_old_one_expires() -> None:
    tokens = [
        {"token": "old", "expiration": NOW + timedelta(minutes=10)},
        {"token": "new", "expiration": NOW + timedelta(hours=1)},
    ]
    gate = Gate({"rotating": AccessKey.model_validate({"secret": "s", "tokens": tokens})})
    later = NOW + timedelta(minutes=10)

    gate.admit(signed("rotating", "s", token="old", nonce="n1"), NOW)
    gate.admit(signed("rotating", "s", token="new", nonce="n2"), NOW)
    assert refused(lambda: gate.admit(signed("rotating", "s", token="old", nonce="n3", at=later), later)) == (
        400,
        "InvalidSecurityToken.Expired",
    )
    gate.admit(signed("rotating", "s", token="new", nonce="n4", at=later), later)
    assert refused(lambda: gate.admit(signed("rotating", "s"), NOW)) == (400, "MissingSecurityToken")


@pytest.mark.parametrize("moment", [NOW - timedelta(minutes=15), NOW, NOW + timedelta(minutes=15)])
def test_fifteen_minutes_either_way_are_fresh(moment: datetime) -> None:
    check_date(moment.strftime("%Y-%m-%dT%H:%M:%SZ"), NOW)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05.000Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05+00:00",
        "2026-13-02T03:04:05Z",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "\uff12026-01-02T03:04:05Z",
        "",
    ],
)
def test_a_date_has_exactly_one_form(text: str) -> None:
    assert refused(lambda: check_date(text, NOW)) == (400, "InvalidTimeStamp.Format")


def test_a_nonce_is_good_once_per_key() -> None:
    gate = Gate(KEYS)
    gate.admit(signed(), NOW)

    again = refused(lambda: gate.admit(signed(), NOW + timedelta(minutes=14)))
    gate.admit(signed("other", "s4", token="t4"), NOW)

    assert again == (400, "SignatureNonceUsed")


def test_a_request_that_is_not_genuine_does_not_use_up_its_nonce() -> None:
    gate = Gate(KEYS)

    refused(lambda: gate.admit(signed(signing_key="wrong"), NOW))
    gate.admit(signed(), NOW)


def test_nonces_are_forgotten_when_no_request_could_carry_them_any_more() -> None:
    nonces = Nonces()
    nonces.use("a", "n", NOW)

    assert refused(lambda: nonces.use("a", "n", NOW + timedelta(minutes=30))) == (400, "SignatureNonceUsed")
    nonces.use("a", "n", NOW + timedelta(minutes=30, seconds=1))


def test_the_memory_for_nonces_is_bounded() -> None:
    nonces = Nonces(limit=2)
    for nonce in ("n1", "n2", "n3"):
        nonces.use("a", nonce, NOW)

    nonces.use("a", "n1", NOW)
    assert refused(lambda: nonces.use("a", "n3", NOW)) == (400, "SignatureNonceUsed")


@given(
    st.dictionaries(st.sampled_from(sorted(signed().headers)), st.text(max_size=40)),
    st.text(max_size=40),
    st.binary(max_size=40),
)
def test_nothing_but_a_refusal_comes_of_a_request_that_was_tampered_with(
    headers: dict[str, str], query: str, body: bytes
) -> None:
    request = signed()
    tampered = replace(request, headers={**request.headers, **headers}, query=query, body=body)

    with pytest.raises(CloudError):
        Gate(KEYS).admit(tampered, NOW)


def test_knows_an_access_key_id_only_if_there_is_such_a_key() -> None:
    gate = Gate(KEYS)

    assert gate.known(signed(signing_key="wrong")) == "plain"
    assert gate.known(signed("aSecretPastedAsId")) is None
    assert gate.known(replace(signed(), headers={})) is None
