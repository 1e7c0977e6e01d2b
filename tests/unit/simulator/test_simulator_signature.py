"""The signature check against published and recorded vectors, and against every small change."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_simulator.errors import CloudError
from tair_simulator.signature import (
    Authorization,
    SignedRequest,
    body_hash,
    canonical_query,
    canonical_request,
    check_signature,
    check_signed_headers,
    parse_authorization,
    sign,
    string_to_sign,
)

ID_QUERY = "InstanceId=r-bp1zxszhcgatnx0001"
KEY = "testAccessKeyId"
SECRET = "testAccessKeySecret"


@dataclass(frozen=True)
class Vector:
    """A request whose canonical hash and signature Alibaba's own code computed."""

    request: SignedRequest
    secret: str
    canonical_hash: str
    signature: str

    @property
    def authorization(self) -> Authorization:
        """All headers of the request are signed."""
        return Authorization(KEY, tuple(sorted(self.request.headers)), self.signature)


def request(
    action: str, query: str, body: bytes = b"", more: dict[str, str] | None = None, **changed: str
) -> SignedRequest:
    """Return a request of the vectors A to E; underscores in ``changed`` stand for hyphens."""
    headers = {
        "host": "r-kvstore.aliyuncs.com",
        "x-acs-action": action,
        "x-acs-content-sha256": body_hash(body),
        "x-acs-date": "2026-01-02T03:04:05Z",
        "x-acs-signature-nonce": "0123456789abcdef0123456789abcdef",
        "x-acs-version": "2015-01-01",
        **(more or {}),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    return SignedRequest("POST", "/", query, headers, body)


PUBLISHED = Vector(
    request(
        "RunInstances",
        "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai",
        host="ecs.cn-shanghai.aliyuncs.com",
        x_acs_date="2023-10-26T10:22:32Z",
        x_acs_signature_nonce="3156853299f313e23d1673dc12e1703d",
        x_acs_version="2014-05-26",
    ),
    "YourAccessKeySecret",
    "7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259",
    "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
)
A = Vector(
    request("ReleaseDirectConnection", ID_QUERY),
    SECRET,
    "f782bca16c3ade1213c29956095b51c4cc7fb65df8e79dd5dab38cca88fa7f1b",
    "35d3e85859fba8ab7b542997c6e785180fafb41df65937fa617dee84e4ea7d44",
)
B = Vector(
    request(
        "AllocateDirectConnection",
        f"ConnectionString=redisdirect123&{ID_QUERY}&Port=6379",
        accept="application/json",
        user_agent="tair-operator/0.1",
    ),
    SECRET,
    "f3c51464fd315019ae6cca2127aee76bf78dab274c4f5f183f8205c0a96afff0",
    "d4a86f0c3a4f556c236cce7c76de7d51aadcb48bb8eb90d9bf017a220b196674",
)
C = Vector(
    request(
        "ReleaseDirectConnection",
        ID_QUERY,
        x_acs_accesskey_id=KEY,
        x_acs_security_token="testSecurityToken+/==",
    ),
    SECRET,
    "441ee92c311b534fbf823d939c802e1459c83a3f64f87f65b976f628507d32cd",
    "239c7afe88091711e5d851e3ece27619c083a72056f8b5ce07620c171ced9c47",
)
D = Vector(
    request(
        "DescribeInstances",
        # As a form would write it: unsorted, a space as "+", a slash and an asterisk bare.
        "SearchKey=a+b*~/%2b%3D%26%E6%B5%8B&Tag.1.Key=env&Tag.1.Value=&RegionId=cn-hangzhou"
        "&PageSize=50&PageNumber=1&InstanceIds=r-bp1a,r-bp1b",
    ),
    SECRET,
    "851c99b478df35a50d26aa821ac89355341c8f6e50845073872f5f2682db01b6",
    "71ba75e55b123d0f258ab4d6cc328b62d11f19d715b870d2ab77bf22ef7bb4ab",
)
E = Vector(
    request(
        "ReleaseDirectConnection",
        "",
        ID_QUERY.encode(),
        content_type="application/x-www-form-urlencoded",
    ),
    SECRET,
    "22101771836e6c45be34a3577ae71c68da86bed0ced350e86ab0049746c60535",
    "0a3b97f5f5e95f928516d4ebdf18f531048bfedbfecf06c8ac36e1ad98b079fb",
)


@pytest.mark.parametrize("vector", [PUBLISHED, A, B, C, D, E], ids=["published", "A", "B", "C", "D", "E"])
def test_agrees_with_the_vectors(vector: Vector) -> None:
    canonical = canonical_request(vector.request, vector.authorization.signed_headers)
    text = string_to_sign(canonical)

    assert text == f"ACS3-HMAC-SHA256\n{vector.canonical_hash}"
    assert sign(vector.secret, text) == vector.signature
    check_signature(vector.request, vector.authorization, vector.secret)


def test_canonical_query_of_an_unsorted_form_is_sorted_and_encoded() -> None:
    assert canonical_query(D.request.query) == (
        "InstanceIds=r-bp1a%2Cr-bp1b&PageNumber=1&PageSize=50&RegionId=cn-hangzhou"
        "&SearchKey=a%20b%2A~%2F%2B%3D%26%E6%B5%8B&Tag.1.Key=env&Tag.1.Value="
    )


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=127))
def test_one_changed_byte_in_any_signed_header_is_noticed(place: int, change: int) -> None:
    texts = {name: C.request.headers[name] for name in C.authorization.signed_headers}
    name = sorted(texts)[place % len(texts)]
    at = place // len(texts) % len(texts[name])
    changed = texts[name][:at] + chr(ord(texts[name][at]) ^ change) + texts[name][at + 1 :]

    if changed.strip() != texts[name]:
        request = replace(C.request, headers={**C.request.headers, name: changed})
        with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
            check_signature(request, C.authorization, SECRET)


@pytest.mark.parametrize(
    "request_",
    [
        replace(A.request, method="GET"),
        replace(A.request, path="/x"),
        replace(A.request, query="InstanceId=r-bp1zxszhcgatnx0002"),
        replace(A.request, query=f"{ID_QUERY}&Port=6379"),
        replace(A.request, body=b"x"),
    ],
    ids=["method", "path", "query", "parameter", "body"],
)
def test_a_change_outside_the_headers_is_noticed(request_: SignedRequest) -> None:
    with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
        check_signature(request_, A.authorization, SECRET)


def test_a_wrong_secret_is_noticed() -> None:
    with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
        check_signature(A.request, A.authorization, f"{SECRET}x")


def test_a_hash_that_is_signed_but_not_of_this_body_is_refused() -> None:
    lying = replace(A.request, headers={**A.request.headers, "x-acs-content-sha256": body_hash(b"other")})
    text = string_to_sign(canonical_request(lying, A.authorization.signed_headers))
    authorization = replace(A.authorization, signature=sign(SECRET, text))

    with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
        check_signature(lying, authorization, SECRET)


def test_a_mismatch_echoes_what_the_server_signed_token_included() -> None:
    with pytest.raises(CloudError) as caught:
        check_signature(C.request, replace(C.authorization, signature="0" * 64), SECRET)

    assert caught.value.http_status == 400
    assert f"server StringToSign is [ACS3-HMAC-SHA256\n{C.canonical_hash}]" in caught.value.message
    assert "x-acs-security-token:testSecurityToken+/==" in caught.value.message


def test_bytes_that_are_not_utf_8_are_a_mismatch_and_no_crash() -> None:
    request = replace(A.request, headers={**A.request.headers, "x-acs-signature-nonce": "\udcff"})

    with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
        check_signature(request, replace(A.authorization, signature="\udcff"), SECRET)


def test_reads_an_authorization_header() -> None:
    header = "ACS3-HMAC-SHA256 Credential=id,SignedHeaders=host;x-acs-date,Signature=abc"

    assert parse_authorization(header) == Authorization("id", ("host", "x-acs-date"), "abc")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "InvalidSignatureMethod"),
        ("ACS4-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=b", "InvalidSignatureMethod"),
        ("ACS3-HMAC-SHA256", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=a,SignedHeaders=,Signature=b", "IncompleteSignature"),
        ("ACS3-HMAC-SHA256 Credential=a,Signature=b,SignedHeaders=host", "IncompleteSignature"),
    ],
)
def test_refuses_an_authorization_header_that_it_cannot_read(header: str, code: str) -> None:
    with pytest.raises(CloudError, match=code):
        parse_authorization(header)


@pytest.mark.parametrize("name", sorted(C.request.headers))
def test_every_common_header_must_be_signed(name: str) -> None:
    names = tuple(other for other in C.authorization.signed_headers if other != name)

    with pytest.raises(CloudError, match="IncompleteSignature"):
        check_signed_headers(C.request, replace(C.authorization, signed_headers=names))


def test_a_signed_header_must_be_there() -> None:
    names = (*A.authorization.signed_headers, "accept")

    with pytest.raises(CloudError, match="IncompleteSignature"):
        check_signed_headers(A.request, replace(A.authorization, signed_headers=names))


def test_a_content_type_may_be_unsigned() -> None:
    request = replace(A.request, headers={**A.request.headers, "content-type": "application/octet-stream"})

    check_signed_headers(request, A.authorization)
    check_signature(request, A.authorization, SECRET)
