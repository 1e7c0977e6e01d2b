"""Signatures: three programs, written apart, agree on every request, and on no other one.

The operator signs, Alibaba's own SDK signs, the simulator verifies.
"""

import re
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from alibabacloud_tea_openapi.utils import Utils
from hypothesis import strategies as st

from tair_operator.aliyun import signing
from tair_simulator import signature as verifier
from tair_simulator.errors import CloudError
from tests.builders import NOW
from tests.fuzz.target import Case, Target

PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
SPECIAL = " +~*%&=/?#:;,.-_'\"\\<>[]{}()|^`!@$\t\n\r\x00\x7f\u00e9\u6d4b\U0001f600"
unicode_text = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.text(SPECIAL, max_size=12) | unicode_text | st.lists(unicode_text, max_size=4).map(",".join)
names = (
    st.sampled_from(["InstanceId", "Tag.1.Key", "Tag.10.Key", "Tag.2.Key", "ConnectionString", "Port"])
    | st.text(SPECIAL, min_size=1, max_size=6)
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)

cases = st.fixed_dictionaries(
    {
        "parameters": st.dictionaries(names, values, max_size=6),
        "action": st.sampled_from(["ReleaseDirectConnection", "DescribeInstances"]),
        "nonce": st.text("0123456789abcdef", min_size=1, max_size=32),
        "key": st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1),
        "secret": words,
        "token": st.none() | words,
    }
)


def check(case: Case) -> None:
    """Sign a request in both ways, verify it, and try to change it afterwards."""
    parameters, key, secret = case["parameters"], case["key"], case["secret"]
    query = signing.canonical_query(parameters)
    common = signing.common_headers(
        host="r-kvstore.aliyuncs.com", action=case["action"], version="2015-01-01", timestamp=NOW, nonce=case["nonce"]
    )
    headers = signing.sign(
        common, query=query, access_key_id=key, access_key_secret=secret, security_token=case["token"]
    )
    ours = headers.pop("authorization")
    asked = SimpleNamespace(method="POST", pathname="/", query=parameters, headers=headers)
    theirs = Utils.get_authorization(asked, signing.ALGORITHM, signing.EMPTY_BODY_HASH, key, secret)

    # The SDK sends names as they are, and the cloud has none that would have to be encoded.
    assert ours == theirs or not all(PLAIN.fullmatch(name) for name in parameters)
    assert dict(parse_qsl(query, keep_blank_values=True)) == parameters
    claimed = verifier.parse_authorization(ours)
    request = verifier.SignedRequest("POST", "/", query, headers, b"")
    verifier.check_signed_headers(request, claimed)
    verifier.check_signature(request, claimed, secret)
    for changed in (
        verifier.SignedRequest("POST", "/", f"{query}&InstanceId2=r-other", headers, b""),
        verifier.SignedRequest("POST", "/", query, {**headers, "x-acs-action": "Other"}, b""),
        verifier.SignedRequest("POST", "/", query, headers, b"InstanceId=r-other"),
    ):
        with pytest.raises(CloudError, match="SignatureDoesNotMatch"):
            verifier.check_signature(changed, claimed, secret)


TARGET = Target("signatures", cases, check, examples=150)
