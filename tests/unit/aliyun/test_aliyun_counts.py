"""What a request to the cloud counts as."""

import pytest

from tair_operator.aliyun import errors
from tair_operator.aliyun.counts import CANCELLED, OK, count_request
from tests.meters import Meter

RELEASE, LOOK = "ReleaseDirectConnection", "DescribeInstances"


@pytest.mark.parametrize(
    ("action", "code", "http_status", "is_sent", "expected"),
    [
        (LOOK, OK, 200, True, (LOOK, "OK", "answered")),
        (RELEASE, OK, 200, True, (RELEASE, "OK", "answered")),
        (RELEASE, "netTYPEnotexists", 400, True, (RELEASE, "NetTypeNotExists", "rejected")),
        (RELEASE, "Throttling.User", 400, True, (RELEASE, "Throttling.User", "rejected")),
        (RELEASE, "Throttling.Odd", 400, True, (RELEASE, "Throttling.*", "rejected")),
        (RELEASE, "ServiceUnavailable", 503, True, (RELEASE, "ServiceUnavailable", "unknown")),
        (LOOK, "ServiceUnavailable", 503, True, (LOOK, "ServiceUnavailable", "rejected")),
        (RELEASE, "Brand.New", 400, True, (RELEASE, "Other", "unknown")),
        (LOOK, "Brand.New", 400, True, (LOOK, "Other", "rejected")),
        (LOOK, errors.UNREADABLE_ANSWER, 200, True, (LOOK, "UnreadableAnswer", "unknown")),
        (LOOK, errors.REDIRECTED, 302, True, (LOOK, "Redirected", "unknown")),
        (LOOK, errors.NO_ANSWER, None, True, (LOOK, "NoAnswer", "unknown")),
        (RELEASE, errors.NO_ANSWER, None, True, (RELEASE, "NoAnswer", "unknown")),
        (RELEASE, errors.CONNECTION_FAILED, None, False, (RELEASE, "ConnectionFailed", "not_sent")),
        (RELEASE, CANCELLED, None, True, (RELEASE, "Other", "unknown")),
        (LOOK, CANCELLED, None, True, (LOOK, "Other", "unknown")),
        ("MetadataRole", "HTTP 404", 404, True, ("MetadataRole", "Other", "rejected")),
    ],
)
def test_a_request_counts_by_its_row_in_the_table_and_what_became_of_it(
    action: str,
    code: str,
    http_status: int | None,
    is_sent: bool,  # noqa: FBT001 - a table
    expected: tuple[str, ...],
) -> None:
    requests = Meter("tair_operator_cloud_requests_total")
    lengths = Meter("tair_operator_cloud_request_duration_seconds_sum")
    count_request(action, 2.5, code, http_status=http_status, is_sent=is_sent)

    assert requests.gained() == {expected: 1}
    # How soon a connection is refused says nothing about the cloud.
    assert lengths.gained() == ({(action,): pytest.approx(2.5)} if is_sent else {})
