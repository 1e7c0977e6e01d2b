"""The code table: complete, without contradictions, and careful about effects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_operator.aliyun import errors
from tair_operator.aliyun.errors import TABLE, Row, classify
from tair_operator.models import Reason
from tair_operator.ports import Effect, ErrorClass

# What the operator does depends on these four; the rows of every code are tested one by one elsewhere.
EXPECTED = {
    "NetTypeNotExists": (ErrorClass.CONFIRM, Effect.NONE, Reason.OUTCOME_UNKNOWN),
    "NetTypeExists": (ErrorClass.CONFIRM, Effect.NONE, Reason.OUTCOME_UNKNOWN),
    "DirectConnectionAlreadyExists": (ErrorClass.CONFIRM, Effect.NONE, Reason.OUTCOME_UNKNOWN),
    "InstanceStatus.NotSupport": (ErrorClass.BUSY, Effect.NONE, Reason.INSTANCE_BUSY),
    "TaskHasExist": (ErrorClass.BUSY, Effect.NONE, Reason.INSTANCE_BUSY),
    "OperationDenied.DBStatus": (ErrorClass.BUSY, Effect.NONE, Reason.INSTANCE_BUSY),
    "LockTimeout": (ErrorClass.BUSY, Effect.POSSIBLE, Reason.INSTANCE_BUSY),
    "ProxyError": (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE),
    "SignatureNonceUsed": (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE),
    "InternalError": (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE),
    "Throttling": (ErrorClass.TRANSIENT, Effect.NONE, Reason.THROTTLED),
    "Throttling.User": (ErrorClass.TRANSIENT, Effect.NONE, Reason.THROTTLED),
    "Throttling.Whatever": (ErrorClass.TRANSIENT, Effect.NONE, Reason.THROTTLED),
    "Rejected.Throttling": (ErrorClass.TRANSIENT, Effect.NONE, Reason.THROTTLED),
    "InvalidDbInstanceId.NotFound": (ErrorClass.BLOCKED, Effect.NONE, Reason.INSTANCE_NOT_FOUND),
    "InvalidInstanceId.NotFound": (ErrorClass.BLOCKED, Effect.NONE, Reason.INSTANCE_NOT_FOUND),
    "Forbidden.InstanceNotFound": (ErrorClass.BLOCKED, Effect.NONE, Reason.INSTANCE_NOT_FOUND),
    "Forbidden.RAM": (ErrorClass.BLOCKED, Effect.NONE, Reason.ACCESS_DENIED),
    "Forbidden.Whatever": (ErrorClass.BLOCKED, Effect.NONE, Reason.ACCESS_DENIED),
    "InvalidSecurityToken.Expired": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "InvalidAccessKeyId.NotFound": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "SignatureDoesNotMatch": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "ConnectionStringAlreadyExists": (ErrorClass.INVALID, Effect.NONE, Reason.INVALID_REQUEST),
    "UnsupportedEngineVersion": (ErrorClass.BLOCKED, Effect.NONE, Reason.INSTANCE_NOT_ELIGIBLE),
    "MissingInstanceId": (ErrorClass.BLOCKED, Effect.NONE, Reason.INVALID_REQUEST),
    "InvalidSomething": (ErrorClass.BLOCKED, Effect.POSSIBLE, Reason.INVALID_REQUEST),
    "ConnectionFailed": (ErrorClass.TRANSIENT, Effect.NONE, Reason.CLOUD_UNREACHABLE),
    "NoAnswer": (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE),
    "CredentialsMissing": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_UNAVAILABLE),
    "CredentialsMalformed": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "CredentialsUnreadable": (ErrorClass.TRANSIENT, Effect.NONE, Reason.CLOUD_UNREACHABLE),
    "EntityNotExist.Role": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "AuthenticationFail.NoPermission": (ErrorClass.BLOCKED, Effect.NONE, Reason.ACCESS_DENIED),
    "AuthenticationFail.OIDCToken.Expired": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "AuthenticationFail.OIDCToken.Whatever": (ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID),
    "InvalidParameter.DurationSeconds": (ErrorClass.BLOCKED, Effect.NONE, Reason.INVALID_REQUEST),
}


def meaning(row: Row) -> tuple[ErrorClass, Effect, Reason]:
    """Return the three columns that decide."""
    return row.error_class, row.effect, row.reason


@pytest.mark.parametrize(("code", "expected"), EXPECTED.items())
@pytest.mark.parametrize("http_status", [None, 200, 400, 403, 404, 500])
def test_the_code_decides_in_any_case_whatever_the_http_status(
    code: str, expected: tuple[ErrorClass, Effect, Reason], http_status: int | None
) -> None:
    assert meaning(classify(code, http_status)) == expected
    assert meaning(classify(code.upper(), http_status)) == expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_every_row_is_found_by_its_own_code(row: Row) -> None:
    assert classify(row.code.replace("*", ".Example"), None) == row


def test_no_code_has_two_rows() -> None:
    codes = [row.code.lower() for row in TABLE]

    assert sorted(codes) == sorted(set(codes))


def test_every_row_says_where_it_comes_from() -> None:
    assert [row.code for row in TABLE if not row.source] == []


@pytest.mark.parametrize(
    ("http_status", "expected"),
    [
        (400, (ErrorClass.BLOCKED, Effect.POSSIBLE, Reason.INVALID_REQUEST)),
        (429, (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.THROTTLED)),
        (499, (ErrorClass.BLOCKED, Effect.POSSIBLE, Reason.INVALID_REQUEST)),
        (500, (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE)),
        (200, (ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE)),
    ],
)
def test_only_what_is_not_listed_is_left_to_the_http_status(
    http_status: int, expected: tuple[ErrorClass, Effect, Reason]
) -> None:
    assert meaning(classify("Surprise", http_status)) == expected
    assert meaning(classify(None, http_status)) == expected


def test_a_code_that_is_not_listed_and_has_no_status_is_transient_and_may_have_had_an_effect() -> None:
    assert classify("Surprise", None) == errors.UNLISTED


def test_without_code_and_status_there_was_no_answer() -> None:
    assert classify(None, None).code == errors.NO_ANSWER


@given(st.text(), st.none() | st.integers())
def test_an_effect_is_ruled_out_by_a_row_of_the_table_and_by_nothing_else(code: str, http_status: int | None) -> None:
    row = classify(code, http_status)

    assert row.effect is Effect.POSSIBLE or row in TABLE
