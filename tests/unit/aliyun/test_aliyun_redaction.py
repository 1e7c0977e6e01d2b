"""What must never be shown, and what must stay readable."""

import base64
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_operator.aliyun.redaction import redact

KEY_SECRET = "Ab1" + "xYz9" * 6 + "Qw7"
TOKEN = "CAIS" + base64.b64encode(bytes(range(120))).decode()
ECHO = (
    "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\n7ea0] "
    f"server CanonicalRequest is [POST\n/\n\nhost:h\nx-acs-security-token:{TOKEN}\n\nhost\ne3b0]"
)


def test_what_the_cloud_quotes_of_a_wrongly_signed_request_is_removed() -> None:
    text = redact(ECHO)

    assert text == "Specified signature does not match our calculation. [the quoted request was removed]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"x-acs-security-token:{TOKEN[:40]} rest", "x-acs-security-token:*** rest"),
        ("SecurityToken=abc%2B&Action=x", "SecurityToken=***&Action=x"),
        ('{"SecurityToken": "abc", "Action": "x"}', '{"SecurityToken": "***", "Action": "x"}'),
        ("AccessKeySecret = hunter22", "AccessKeySecret = ***"),
        ("Signature=abcdef, next", "Signature=***, next"),
        ("Authorization: Bearer abc def", "Authorization: ***"),
        ("AccessKeyId=LTAI5tAbCdEfGh is unknown", "AccessKeyId=LTAI*** is unknown"),
        ("x-acs-accesskey-id: STS.NTabcdefgh", "x-acs-accesskey-id: STS.***"),
        ("key LTAI5tAbCdEfGh is disabled", "key LTAI*** is disabled"),
        (f"the secret is {KEY_SECRET}.", "the secret is ***."),
        (f"got {'0a' * 32}", "got ***"),
        (f"token {TOKEN}", "token ***"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Specified instance does not exist.",
        "The instance r-bp1zxszhcgatnx0001 in vpc-bp1nme44gek34slfc0001 is Changing.",
        "RequestId 5D622714-AEDD-4609-9167-F5DDD3D1AAAA",
        "abcdefghijklmnopqrstuvwxyz0123.redis.rds.aliyuncs.com",
        r"ConnectionString is invalid, valid regex: ^\w+$",
        "kvstore:ReleaseDirectConnection on acs:kvstore:cn-hangzhou:1234567890123456:instance/r-bp1zxszhcgatnx0001",
    ],
)
def test_what_helps_the_reader_stays(text: str) -> None:
    assert redact(text, [KEY_SECRET, TOKEN]) == text


@given(
    st.text(string.ascii_letters + string.digits + "+/=%.-", min_size=4, max_size=60),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_a_known_secret_never_gets_through_as_it_is_or_percent_encoded(secret: str, before: str, after: str) -> None:
    text = redact(f"{before}{secret}{after} {quote(secret, safe='~')}", [secret, None])

    # What is left of the surroundings, or the mark itself, may spell a short secret by chance.
    if secret not in redact(f"{before} {after}") and len(secret) > 8:
        assert secret not in text


def test_a_known_secret_that_is_part_of_another_does_not_save_the_rest_of_it() -> None:
    assert redact("secret-and-more", ["secret", "secret-and-more"]) == "***"


def test_what_is_too_short_to_be_a_secret_is_left_alone() -> None:
    assert redact("a rose is a rose", ["a", None]) == "a rose is a rose"


@given(st.text(st.characters(), max_size=700))
def test_the_result_is_one_printable_line_of_bounded_length(text: str) -> None:
    shown = redact(text)

    assert len(shown) <= 512
    assert shown.isprintable()
    # A lone surrogate could not be stored.
    assert shown.encode().decode() == shown


def test_a_long_text_ends_with_an_ellipsis() -> None:
    assert redact("word " * 1000, limit=10) == "word word…"


def test_control_characters_bidirectional_overrides_and_lone_surrogates_become_spaces() -> None:
    assert redact("a\x00b\r\nc\u202ed\ud800e\u2028f") == "a b c d e f"
