"""The signature, step by step: when one is wrong, the test names the first step that differs."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from alibabacloud_tea_openapi.utils import Utils
from hypothesis import given
from hypothesis import strategies as st

from tair_operator.aliyun import signing

RELEASE = {"InstanceId": "r-bp1zxszhcgatnx0001"}
OURS = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"


@dataclass(frozen=True)
class Vector:
    """A request, and what each step makes of it."""

    action: str
    parameters: dict[str, str]
    query: str
    request_hash: str
    signature: str
    more: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    host: str = "r-kvstore.aliyuncs.com"
    version: str = "2015-01-01"
    timestamp: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    nonce: str = "0123456789abcdef0123456789abcdef"
    key_id: str = "testAccessKeyId"
    key_secret: str = "testAccessKeySecret"

    def headers(self) -> dict[str, str]:
        """Return what is signed."""
        common = signing.common_headers(
            host=self.host,
            action=self.action,
            version=self.version,
            timestamp=self.timestamp,
            nonce=self.nonce,
            body_hash=sha256(self.body).hexdigest(),
        )
        return common | self.more

    def request(self) -> str:
        """Return the canonical request."""
        headers = self.headers()
        return signing.canonical_request("POST", "/", self.query, headers, headers["x-acs-content-sha256"])


VECTORS = {
    # The example of the page "Request syntax and signature method V3" in the Alibaba Cloud help centre.
    "the published one": Vector(
        action="RunInstances",
        parameters={
            "RegionId": "cn-shanghai",
            "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
        },
        query="ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai",
        request_hash="7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259",
        signature="06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
        host="ecs.cn-shanghai.aliyuncs.com",
        version="2014-05-26",
        timestamp=datetime(2023, 10, 26, 10, 22, 32, tzinfo=UTC),
        nonce="3156853299f313e23d1673dc12e1703d",
        key_id="YourAccessKeyId",
        key_secret="YourAccessKeySecret",
    ),
    # Computed with Alibaba's own SDK, alibabacloud-tea-openapi 0.4.6.
    "a release": Vector(
        action="ReleaseDirectConnection",
        parameters=RELEASE,
        query="InstanceId=r-bp1zxszhcgatnx0001",
        request_hash="f782bca16c3ade1213c29956095b51c4cc7fb65df8e79dd5dab38cca88fa7f1b",
        signature="35d3e85859fba8ab7b542997c6e785180fafb41df65937fa617dee84e4ea7d44",
    ),
    "an allocation, with accept and user-agent signed as well": Vector(
        action="AllocateDirectConnection",
        parameters={**RELEASE, "ConnectionString": "redisdirect123", "Port": "6379"},
        query="ConnectionString=redisdirect123&InstanceId=r-bp1zxszhcgatnx0001&Port=6379",
        more={"accept": "application/json", "user-agent": "tair-operator/0.1"},
        request_hash="f3c51464fd315019ae6cca2127aee76bf78dab274c4f5f183f8205c0a96afff0",
        signature="d4a86f0c3a4f556c236cce7c76de7d51aadcb48bb8eb90d9bf017a220b196674",
    ),
    "a release with temporary credentials": Vector(
        action="ReleaseDirectConnection",
        parameters=RELEASE,
        query="InstanceId=r-bp1zxszhcgatnx0001",
        more=signing.token_headers("testAccessKeyId", "testSecurityToken+/=="),
        request_hash="441ee92c311b534fbf823d939c802e1459c83a3f64f87f65b976f628507d32cd",
        signature="239c7afe88091711e5d851e3ece27619c083a72056f8b5ce07620c171ced9c47",
    ),
    "awkward characters": Vector(
        action="DescribeInstances",
        parameters={
            "Tag.1.Value": "",
            "Tag.1.Key": "env",
            "SearchKey": "a b*~/+=&\u6d4b",
            "RegionId": "cn-hangzhou",
            "PageSize": "50",
            "PageNumber": "1",
            "InstanceIds": "r-bp1a,r-bp1b",
        },
        query=(
            "InstanceIds=r-bp1a%2Cr-bp1b&PageNumber=1&PageSize=50&RegionId=cn-hangzhou"
            "&SearchKey=a%20b%2A~%2F%2B%3D%26%E6%B5%8B&Tag.1.Key=env&Tag.1.Value="
        ),
        request_hash="851c99b478df35a50d26aa821ac89355341c8f6e50845073872f5f2682db01b6",
        signature="71ba75e55b123d0f258ab4d6cc328b62d11f19d715b870d2ab77bf22ef7bb4ab",
    ),
    "parameters in a form": Vector(
        action="ReleaseDirectConnection",
        parameters={},
        query="",
        body=b"InstanceId=r-bp1zxszhcgatnx0001",
        more={"Content-Type": "application/x-www-form-urlencoded"},
        request_hash="22101771836e6c45be34a3577ae71c68da86bed0ced350e86ab0049746c60535",
        signature="0a3b97f5f5e95f928516d4ebdf18f531048bfedbfecf06c8ac36e1ad98b079fb",
    ),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_every_step_makes_of_a_known_request_what_the_cloud_makes_of_it(vector: Vector) -> None:
    assert signing.canonical_query(vector.parameters) == vector.query, "the first step that differs: canonical query"

    text = signing.string_to_sign(vector.request())
    assert text == f"ACS3-HMAC-SHA256\n{vector.request_hash}", f"... canonical request:\n{vector.request()}"

    signature = signing.signature(vector.key_secret, text)
    assert signature == vector.signature, "... signature"

    names = signing.signed_headers(vector.headers())
    header = signing.authorization(vector.key_id, names, signature)
    expected = f"Credential={vector.key_id},SignedHeaders={names},Signature={vector.signature}"
    assert header == f"ACS3-HMAC-SHA256 {expected}", "... authorization"


def test_the_canonical_request_is_spelt_out_as_the_specification_has_it() -> None:
    vector = VECTORS["a release"]

    assert vector.request() == (
        "POST\n"
        "/\n"
        "InstanceId=r-bp1zxszhcgatnx0001\n"
        "host:r-kvstore.aliyuncs.com\n"
        "x-acs-action:ReleaseDirectConnection\n"
        "x-acs-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
        "x-acs-date:2026-01-02T03:04:05Z\n"
        "x-acs-signature-nonce:0123456789abcdef0123456789abcdef\n"
        "x-acs-version:2015-01-01\n"
        "\n"
        f"{OURS}\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_the_date_is_utc_to_the_second_whatever_the_zone_of_the_timestamp() -> None:
    there = datetime(2026, 1, 2, 11, 4, 5, 999999, tzinfo=timezone(timedelta(hours=8)))

    headers = signing.common_headers(host="h", action="a", version="v", timestamp=there, nonce="n")

    assert headers["x-acs-date"] == "2026-01-02T03:04:05Z"


def test_header_names_are_compared_in_lower_case_and_values_without_outer_space() -> None:
    request = signing.canonical_request("POST", "/", "", {"X-B": " 2 ", "x-a": "1"}, "hash")

    assert request == "POST\n/\n\nx-a:1\nx-b:2\n\nx-a;x-b\nhash"


@given(st.text(st.characters(codec="utf-8")))
def test_an_encoded_value_has_unreserved_characters_only_and_can_be_decoded(value: str) -> None:
    name, _, encoded = signing.canonical_query({"k": value}).partition("=")

    assert name == "k"
    assert re.fullmatch(r"([A-Za-z0-9._~-]|%[0-9A-F]{2})*", encoded)
    assert unquote(encoded, errors="strict") == value


NAMES = st.text("ABCabc019.", min_size=1, max_size=10)
VALUES = st.text(st.characters(codec="utf-8"), max_size=20)
WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)


@given(
    st.dictionaries(NAMES, VALUES, max_size=5),
    st.dictionaries(st.text("abcXYZ-", min_size=1, max_size=10).map("x-acs-{}".format), WORDS, max_size=5),
    WORDS,
    WORDS,
)
def test_alibabas_own_sdk_computes_the_same_authorization(
    parameters: dict[str, str], headers: dict[str, str], key_id: str, key_secret: str
) -> None:
    # The SDK joins headers whose names differ in case only; the operator never sends such.
    headers = {name.lower(): value for name, value in headers.items()} | {"host": "r-kvstore.aliyuncs.com"}
    body_hash = signing.EMPTY_BODY_HASH
    request = signing.canonical_request("POST", "/", signing.canonical_query(parameters), headers, body_hash)
    signature = signing.signature(key_secret, signing.string_to_sign(request))

    ours = signing.authorization(key_id, signing.signed_headers(headers), signature)
    asked = SimpleNamespace(method="POST", pathname="/", query=parameters, headers=headers)
    theirs = Utils.get_authorization(asked, signing.ALGORITHM, body_hash, key_id, key_secret)

    assert ours == theirs
