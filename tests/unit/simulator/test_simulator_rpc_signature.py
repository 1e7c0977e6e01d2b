"""The older signature in the parameters, against vectors of Alibaba's SDK, and at the gate."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_simulator.access_keys import AccessKey
from tair_simulator.errors import CloudError
from tair_simulator.gateway import Gate
from tair_simulator.mistakes import parse
from tair_simulator.rpc_signature import check_signature, sign, string_to_sign
from tair_simulator.signature import FORM, SignedRequest
from tests.unit.simulator.moving_clock import Time

NOW = Time()()
SECRET = "testAccessKeySecret"
PARAMETERS = {
    "Action": "ReleaseDirectConnection",
    "Version": "2015-01-01",
    "Format": "json",
    "Timestamp": "2026-01-02T03:04:05Z",
    "SignatureNonce": "0123456789abcdef0123456789abcdef",
    "SignatureMethod": "HMAC-SHA1",
    "SignatureVersion": "1.0",
    "AccessKeyId": "testAccessKeyId",
    "InstanceId": "r-bp1zxszhcgatnx0001",
}
AWKWARD = {"SearchKey": "a b*~/+=&\u6d4b"}
KEYS = {
    "testAccessKeyId": parse(AccessKey, {"secret": SECRET}),
    "sts": parse(AccessKey, {"secret": SECRET, "securityToken": "token"}),
}


def signed(parameters: dict[str, str], method: str = "GET", secret: str = SECRET) -> dict[str, str]:
    """Return the parameters with their signature."""
    return {**parameters, "Signature": sign(secret, string_to_sign(method, parameters))}


def request(parameters: dict[str, str], method: str = "GET", *, form: bool = False) -> SignedRequest:
    """Return a request with these parameters."""
    text = urlencode(parameters)
    if form:
        return SignedRequest(method, "/", "", {"content-type": f"{FORM}; charset=utf-8"}, text.encode())
    return SignedRequest(method, "/", text, {"host": "sts.aliyuncs.com"}, b"")


@pytest.mark.parametrize(
    ("method", "more", "signature"),
    [
        ("POST", {}, "JJitk+N2wWOTjzQx65NYpWZ/Imc="),
        ("GET", {}, "iNZxrm9yzJW9sDlS2Wh7ABdG8Yg="),
        ("POST", AWKWARD, "RMPqaXhrYt/rPFmqfkeB81pN5rM="),
    ],
)
def test_agrees_with_the_vectors(method: str, more: dict[str, str], signature: str) -> None:
    parameters = {**PARAMETERS, **more}

    assert sign(SECRET, string_to_sign(method, parameters)) == signature
    check_signature(method, {**parameters, "Signature": signature}, SECRET)


@given(st.sampled_from(sorted(PARAMETERS)), st.text(max_size=20))
def test_a_change_of_any_parameter_is_noticed(name: str, value: str) -> None:
    changed = {**signed(PARAMETERS), name: value}

    if value != PARAMETERS[name]:
        with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
            check_signature("GET", changed, SECRET)


def test_a_mismatch_echoes_what_the_server_signed_token_included() -> None:
    parameters = {**PARAMETERS, "SecurityToken": "testSecurityToken", "Signature": "x"}

    with pytest.raises(CloudError, match=r"server string to sign is:GET&%2F&.*testSecurityToken") as caught:
        check_signature("GET", parameters, SECRET)

    assert caught.value.http_status == 400


@pytest.mark.parametrize(("method", "form"), [("GET", False), ("POST", False), ("POST", True)])
def test_the_gate_admits_it_in_the_query_and_in_a_form(method: str, *, form: bool) -> None:
    call = request(signed(PARAMETERS, method), method, form=form)

    assert Gate(KEYS).known(call) == "testAccessKeyId"
    assert Gate(KEYS).admit(call, NOW) == "testAccessKeyId"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"AccessKeyId": "nobody"}, "InvalidAccessKeyId.NotFound"),
        ({"AccessKeyId": ""}, "MissingParameter"),
        ({"SignatureNonce": ""}, "MissingParameter"),
        ({"SignatureMethod": "HMAC-SHA256"}, "InvalidSignatureMethod"),
        ({"SignatureVersion": "2.0"}, "InvalidSignatureMethod"),
        ({"Timestamp": "2026-01-02T02:49:04Z"}, "InvalidTimeStamp.Expired"),
        ({"Timestamp": "yesterday"}, "InvalidTimeStamp.Format"),
        ({"AccessKeyId": "sts"}, "MissingSecurityToken"),
        ({"AccessKeyId": "sts", "SecurityToken": "other"}, "InvalidSecurityToken.Malformed"),
        ({"SecurityToken": "token"}, "InvalidSecurityToken.MismatchWithAccessKey"),
    ],
)
def test_the_gate_refuses_with_the_documented_code(more: dict[str, str], code: str) -> None:
    with pytest.raises(CloudError) as caught:
        Gate(KEYS).admit(request(signed({**PARAMETERS, **more})), NOW)

    assert caught.value.code == code


def test_a_wrong_secret_and_a_nonce_that_was_used_are_refused() -> None:
    gate = Gate(KEYS)

    with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
        gate.admit(request(signed(PARAMETERS, secret="wrong")), NOW)
    gate.admit(request(signed(PARAMETERS)), NOW)
    with pytest.raises(CloudError, match="SignatureNonceUsed"):
        gate.admit(request(signed(PARAMETERS)), NOW)
