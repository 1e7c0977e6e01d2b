"""What a request to the cloud counts as."""

import asyncio
import itertools

import pytest

from tair_operator.aliyun import errors
from tair_operator.aliyun.counts import CANCELLED, OK, count_request, counted
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


async def ask(*, raises: BaseException | None = None, code: str = OK) -> None:
    """Make a request that takes a second and ends so."""
    with counted(LOOK, "r-kvstore.example.com", itertools.count().__next__) as request:
        if raises is not None:
            raise raises
        request.code, request.http_status, request.request_id = code, 200, "R-1"


@pytest.mark.parametrize(
    ("raises", "code", "expected", "seconds"),
    [
        (None, OK, ("OK", "answered"), 1),
        (None, "HTTP 404", ("Other", "rejected"), 1),
        (errors.failure(LOOK, "Forbidden.RAM", "", http_status=403), OK, ("Forbidden.RAM", "rejected"), 1),
        (errors.failure(LOOK, errors.NO_ANSWER, ""), OK, ("NoAnswer", "unknown"), 1),
        (errors.failure(LOOK, errors.CONNECTION_FAILED, "", sent=False), OK, ("ConnectionFailed", "not_sent"), None),
        # What only the one who made the request can say of it, an endpoint may say too.
        (errors.failure(LOOK, errors.CONNECTION_FAILED, "", http_status=400), OK, ("ConnectionFailed", "rejected"), 1),
        (asyncio.CancelledError(), OK, ("Other", "unknown"), 1),
        (ZeroDivisionError(), OK, ("Other", "unknown"), 1),
    ],
)
async def test_a_request_counts_once_and_is_logged_however_it_ends(
    caplog: pytest.LogCaptureFixture,
    raises: BaseException | None,
    code: str,
    expected: tuple[str, ...],
    seconds: float | None,
) -> None:
    requests = Meter("tair_operator_cloud_requests_total")
    lengths = Meter("tair_operator_cloud_request_duration_seconds_sum")
    caplog.set_level("DEBUG", "tair_operator.aliyun.counts")
    try:
        await ask(raises=raises, code=code)
        ended: BaseException | None = None
    except BaseException as error:  # noqa: BLE001 - compared below
        ended = error
    [record] = caplog.records

    assert ended is raises
    assert requests.gained() == {(LOOK, *expected): 1}
    assert lengths.gained() == ({} if seconds is None else {(LOOK,): seconds})
    assert record.getMessage().startswith(f"{LOOK} at r-kvstore.example.com: ")
