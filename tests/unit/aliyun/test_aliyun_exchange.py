"""What is made of an answer, whatever it is."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_operator.aliyun.credentials import Credentials
from tair_operator.aliyun.exchange import Call, Reply, _judge
from tair_operator.aliyun.limiter import PAUSE_MAX
from tair_operator.aliyun.wire import RawReply
from tair_operator.models import Reason
from tair_operator.ports import CloudError, Effect

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREDENTIALS = Credentials("LTAI5tExampleKey", "testAccessKeySecret", "testSecurityToken+/==")
RELEASE = Call("ReleaseDirectConnection", {"InstanceId": "r-1"}, "cn-hangzhou", CREDENTIALS)
LOOK = Call("DescribeInstances", {"RegionId": "cn-hangzhou"}, "cn-hangzhou", CREDENTIALS)


def judged(call: Call, status: int, body: object, headers: dict[str, str] | None = None) -> Reply | CloudError:
    """Return what becomes of an answer."""
    raw = RawReply(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    try:
        return _judge(call, raw, NOW)
    except CloudError as error:
        return error


def refused(status: int, body: object, headers: dict[str, str] | None = None) -> CloudError:
    """Return the error that a release ends with."""
    error = judged(RELEASE, status, body, headers)
    assert isinstance(error, CloudError)
    return error


KEYS = st.sampled_from(["RequestId", "Code", "code", "Message", "AccessDeniedDetail", "AuthAction", "Instances"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["OK", "Throttling"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
)
STATUSES = st.sampled_from([200, 204, 206, 302, 304, 400, 403, 404, 429, 500, 502, 599])
HEADERS = st.dictionaries(st.sampled_from(["x-acs-retry-after", "x-acs-request-id"]), st.text(max_size=30))


@given(st.sampled_from([RELEASE, LOOK]), STATUSES, JSON | st.binary(max_size=50), HEADERS)
def test_every_answer_is_a_reply_or_an_error_that_can_be_stored(
    call: Call, status: int, body: object, headers: dict[str, str]
) -> None:
    outcome = judged(call, status, body, headers)

    if isinstance(outcome, Reply):
        assert 200 <= status < 300
        assert outcome.request_id is not None or not call.is_mutating
        return
    assert outcome.sent
    assert outcome.http_status == status
    for text in (outcome.code, outcome.message, outcome.request_id or "-"):
        assert text
        assert text.isprintable()
        assert text.encode()
    assert outcome.retry_after is None or timedelta(0) < outcome.retry_after <= PAUSE_MAX


@given(STATUSES, JSON | st.binary(max_size=50))
def test_a_release_is_never_ruled_out_without_a_code_that_rules_it_out(status: int, body: object) -> None:
    outcome = judged(RELEASE, status, body)

    if isinstance(outcome, CloudError) and outcome.effect is Effect.NONE:
        assert outcome.code == "Throttling"


@pytest.mark.parametrize("code", ["ConnectionFailed", "Paused", "credentialsmissing"])
def test_a_word_of_ours_in_an_answer_rules_nothing_out(code: str) -> None:
    error = refused(502, {"RequestId": "A-1", "Code": code})

    assert (error.code, error.effect, error.sent) == ("UnreadableAnswer", Effect.POSSIBLE, True)


@pytest.mark.parametrize(
    ("text", "retry_after"),
    [
        ("1500", timedelta(seconds=1.5)),
        (" 20 ", timedelta(milliseconds=20)),
        ("9999999", PAUSE_MAX),
        ("9" * 5000, PAUSE_MAX),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
        ("", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_pause_that_is_asked_for_is_in_milliseconds_and_has_a_limit(
    text: str, retry_after: timedelta | None
) -> None:
    assert refused(400, {"Code": "Throttling.User"}, {"x-acs-retry-after": text}).retry_after == retry_after
    assert refused(503, b"", {"x-acs-retry-after": text}).retry_after == retry_after


def test_a_message_is_redacted_and_says_what_to_do() -> None:
    body = {
        "RequestId": "A-1",
        "Code": "SignatureDoesNotMatch",
        "Message": "wrong: testAccessKeySecret testSecurityToken%2B%2F%3D%3D, server StringToSign is [x]",
    }

    error = refused(400, body)

    assert error.message == (
        "wrong: *** ***, [the quoted request was removed] "
        "(check the AccessKey secret that belongs to this AccessKey id)"
    )
    assert (error.request_id, error.reason) == ("A-1", Reason.CREDENTIALS_INVALID)
    assert str(error) == f"ReleaseDirectConnection: SignatureDoesNotMatch: {error.message}"


def test_the_request_id_of_the_body_wins_over_the_one_in_the_header() -> None:
    reply = judged(RELEASE, 200, {"RequestId": "BODY"}, {"x-acs-request-id": "HEADER"})

    assert isinstance(reply, Reply)
    assert (reply.request_id, reply.http_status, reply.sent_at) == ("BODY", 200, NOW)
