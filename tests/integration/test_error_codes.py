"""Each error code on its way from the cloud to the core: sent by the simulator, read by the real client.

What a code means is written down here once more, from Alibaba Cloud's pages; the table is not asked.
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Action, Reason
from tair_operator.ports import CloudError, Effect, ErrorClass, Target
from tair_simulator import errors as simulated
from tair_simulator.cloud import Cloud
from tair_simulator.fault_kinds import parse_fault
from tair_simulator.ledger import Entry
from tair_simulator.seed import parse_seed
from tests.integration.simulator_client import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORDERS = Target("r-bp1zxszhcgatnx0001", "cn-hangzhou")
SEED = f"""
accessKeys:
  demo: {{secret: demoSecret}}
instances:
  {ORDERS.instance_id}: {{regionId: {ORDERS.region_id}, directConnection: true}}
"""
RELEASE, ALLOCATE = Action
LOOKS = ("DescribeInstances", "DescribeDBInstanceNetInfo")


class Meaning(NamedTuple):
    """What the core has to be told about a code."""

    error_class: ErrorClass
    effect: Effect
    reason: Reason


SO_ALREADY = Meaning(ErrorClass.CONFIRM, Effect.NONE, Reason.OUTCOME_UNKNOWN)
IS_BUSY = Meaning(ErrorClass.BUSY, Effect.NONE, Reason.INSTANCE_BUSY)
MAYBE_BUSY = Meaning(ErrorClass.BUSY, Effect.POSSIBLE, Reason.INSTANCE_BUSY)
NOT_FOUND = Meaning(ErrorClass.BLOCKED, Effect.NONE, Reason.INSTANCE_NOT_FOUND)
NOT_ELIGIBLE = Meaning(ErrorClass.BLOCKED, Effect.NONE, Reason.INSTANCE_NOT_ELIGIBLE)
WRONG_SPEC = Meaning(ErrorClass.INVALID, Effect.NONE, Reason.INVALID_REQUEST)
WRONG_REQUEST = Meaning(ErrorClass.BLOCKED, Effect.NONE, Reason.INVALID_REQUEST)
MAYBE_WRONG = Meaning(ErrorClass.BLOCKED, Effect.POSSIBLE, Reason.INVALID_REQUEST)
WRONG_KEY = Meaning(ErrorClass.BLOCKED, Effect.NONE, Reason.CREDENTIALS_INVALID)
DENIED = Meaning(ErrorClass.BLOCKED, Effect.NONE, Reason.ACCESS_DENIED)
TOO_MANY = Meaning(ErrorClass.TRANSIENT, Effect.NONE, Reason.THROTTLED)
MAYBE_TOO_MANY = Meaning(ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.THROTTLED)
TROUBLE = Meaning(ErrorClass.TRANSIENT, Effect.POSSIBLE, Reason.CLOUD_UNREACHABLE)

DOCUMENTED: list[tuple[Action, int, str, Meaning]] = [
    (RELEASE, 400, "NetTypeNotExists", SO_ALREADY),
    (RELEASE, 403, "InstanceStatus.NotSupport", IS_BUSY),
    (RELEASE, 404, "InvalidDbInstanceId.NotFound", NOT_FOUND),
    (ALLOCATE, 400, "NetTypeExists", SO_ALREADY),
    (ALLOCATE, 400, "DirectConnectionAlreadyExists", SO_ALREADY),
    (ALLOCATE, 400, "InvalidConnType", NOT_ELIGIBLE),
    (ALLOCATE, 400, "TaskHasExist", IS_BUSY),
    (ALLOCATE, 400, "ConnectionStringAlreadyExists", WRONG_SPEC),
    (ALLOCATE, 400, "InvalidConnectionString.Format", WRONG_SPEC),
    (ALLOCATE, 400, "InvalidConnectionString", WRONG_SPEC),
    (ALLOCATE, 400, "InvalidVPCParamGroup", NOT_ELIGIBLE),
    (ALLOCATE, 403, "UnsupportedEngineVersion", NOT_ELIGIBLE),
    (ALLOCATE, 403, "IncorrectMinorVersion", NOT_ELIGIBLE),
    (ALLOCATE, 403, "InstanceStatus.NotSupport", IS_BUSY),
    (ALLOCATE, 404, "InvalidDbInstanceId.NotFound", NOT_FOUND),
]
"""What the API pages of the two operations list, with the HTTP status that they give."""

COMMON: list[tuple[int, Meaning, str]] = [
    # Of the product.
    (403, IS_BUSY, "IncorrectDBInstanceState OperationDenied.DBInstanceStatus OperationDeniedDBStatus"),
    (400, MAYBE_BUSY, "LockTimeout"),
    (400, TROUBLE, "ProxyError Unkown.Exception"),
    (403, NOT_ELIGIBLE, "HasDirectConnectionNotSupport"),
    (404, NOT_FOUND, "NotFound InvalidInstanceId.NotFound InvalidDBInstance.NotFound InvalidDBInstanceId.NotFound"),
    (404, NOT_FOUND, "Forbidden.InstanceNotFound"),
    # Of all products.
    (400, TOO_MANY, "Throttling Throttling.User Rejected.Throttling Throttling.Burst"),
    (403, TOO_MANY, "Throttling.Api"),
    (503, TROUBLE, "ServiceUnavailable"),
    (500, TROUBLE, "InternalError"),
    (400, TROUBLE, "SignatureNonceUsed"),
    (400, WRONG_REQUEST, "InvalidTimeStamp.Expired InvalidTimeStamp.Format IllegalTimestamp"),
    (400, WRONG_KEY, "SignatureDoesNotMatch IncompleteSignature"),
    (400, WRONG_REQUEST, "InvalidSignatureMethod ContentMD5NotMatched UnsupportedHTTPMethod"),
    (404, WRONG_KEY, "InvalidAccessKeyId.NotFound"),
    (
        400,
        WRONG_KEY,
        "InvalidAccessKeyId.Inactive MissingAccessKeyId MissingSecurityToken InvalidSecurityToken.Expired",
    ),
    (400, WRONG_KEY, "InvalidSecurityToken.Malformed InvalidSecurityToken.MismatchWithAccessKey InvalidSecurityToken"),
    (
        403,
        DENIED,
        "Forbidden.RAM NoPermission Forbidden Forbedden.NotSupportRAM Forbidden.RiskControl NoPermission.ECS",
    ),
    (404, WRONG_REQUEST, "InvalidApi.NotFound InvalidAction.NotFound InvalidVersion InvalidProduct.NotFound"),
    (404, WRONG_REQUEST, "InvalidProtocol.NeedSsl"),
    (400, WRONG_REQUEST, "MissingParameter MissingInstanceId MissingRegionId InvalidParameter InvalidInstanceIds"),
    (400, WRONG_REQUEST, "InvalidPageNumber InvalidPageSize"),
    (404, WRONG_REQUEST, "InvalidRegionId.NotFound"),
    (400, WRONG_SPEC, "InvalidPort"),
    # Of none: what nobody has listed may have had an effect.
    (400, MAYBE_WRONG, "InvalidVSwitch.Full"),
    (409, MAYBE_WRONG, "NeverHeardOf.Refusal"),
    (429, MAYBE_TOO_MANY, "NeverHeardOf.Throttling"),
    (502, TROUBLE, "NeverHeardOf.Trouble"),
]
"""HTTP status, meaning and codes of what any call may be answered with."""

ANSWERS = [
    *DOCUMENTED,
    *(
        (action, status, code, meaning)
        for action in Action
        for status, meaning, codes in COMMON
        for code in codes.split()
    ),
]
UNSEEN = [
    (look, status, code, meaning) for look in LOOKS for status, meaning, codes in COMMON for code in codes.split()
]


def each(operation: str, rows: Sequence[tuple[str, int, str, Meaning]]) -> pytest.MarkDecorator:
    """Run a test for each of these codes; ``operation`` is what the test calls the first column."""
    ids = [f"{row[0]}-{row[2]}" for row in rows]
    return pytest.mark.parametrize((operation, "http_status", "code", "meaning"), rows, ids=ids)


class Clock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic()

    boottime = monotonic


@dataclass
class Line:
    """The client at one end and the simulated cloud at the other."""

    client: AliyunClient
    cloud: Cloud
    url: str
    control: aiohttp.ClientSession

    async def break_next(self, action: str, code: str, http_status: int) -> str:
        """Ask for a fault; return the message that comes with it."""
        message = f"Because of {code}."
        fault = {"kind": "error", "action": action, "code": code, "httpStatus": http_status, "message": message}
        async with self.control.post(f"{self.url}/_simulator/faults", json=fault) as response:
            assert response.status == 201, await response.text()
        return message

    def last_call(self, action: str) -> Entry:
        """Return what the cloud noted about the last call of an operation."""
        return self.cloud.ledger.entries(action)[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line() -> AsyncIterator[Line]:
    """One server and one session for all codes."""
    cloud, numbers = Cloud(parse_seed(SEED)), count()
    async with serving(cloud) as url, open_session(None) as session, aiohttp.ClientSession() as control:
        client = AliyunClient(
            session=session,
            credentials=lambda _: EnvironmentCredentials(
                {"ALIBABA_CLOUD_ACCESS_KEY_ID": "demo", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "demoSecret"}
            ),
            limiter=Limiter(clock=time.monotonic, rate=1000, burst=1000),
            clock=Clock(),
            new_nonce=lambda: f"{time.time_ns()}-{next(numbers)}",
            endpoint=url,
        )
        yield Line(client, cloud, url, control)


@each("action", ANSWERS)
async def test_a_refused_call_arrives_as_what_its_code_means(
    line: Line, action: Action, http_status: int, code: str, meaning: Meaning
) -> None:
    message = await line.break_next(action, code, http_status)
    call = await line.client.prepare(action, ORDERS)

    with pytest.raises(CloudError) as caught:
        await call.send()

    assert_arrived(caught.value, line.last_call(action), message, meaning)
    assert line.client.classify(code, http_status) == (meaning.error_class, meaning.reason)
    assert (caught.value.action, caught.value.code, caught.value.http_status) == (action, code, http_status)


@each("look", UNSEEN)
async def test_a_refused_look_arrives_as_what_its_code_means(
    line: Line, look: str, http_status: int, code: str, meaning: Meaning
) -> None:
    message = await line.break_next(look, code, http_status)

    with pytest.raises(CloudError) as caught:
        await line.client.observe(ORDERS)

    assert_arrived(caught.value, line.last_call(look), message, meaning)
    assert (caught.value.action, caught.value.code, caught.value.http_status) == (look, code, http_status)


@each("action", DOCUMENTED)
async def test_the_simulator_sends_a_documented_code_with_the_status_of_its_page(
    line: Line, action: Action, http_status: int, code: str, meaning: Meaning
) -> None:
    line.cloud.faults.add(parse_fault({"kind": "error", "action": action, "code": code}))
    call = await line.client.prepare(action, ORDERS)

    with pytest.raises(CloudError) as caught:
        await call.send()

    assert_arrived(caught.value, line.last_call(action), simulated.DOCUMENTED[code][1], meaning)
    assert (caught.value.code, caught.value.http_status) == (code, http_status)


async def test_every_code_that_the_simulator_knows_is_tested_here() -> None:
    tested = {code for _, _, code, _ in ANSWERS}

    assert set(simulated.DOCUMENTED) <= tested


def assert_arrived(error: CloudError, noted: Entry, message: str, meaning: Meaning) -> None:
    """Check the error against what the cloud noted, and against what its code means."""
    assert (error.error_class, error.effect, error.reason) == meaning
    assert error.message.startswith(message)
    assert (error.request_id, error.http_status, error.code) == (noted.request_id, noted.http_status, noted.code)
    assert (error.sent, noted.effective) == (True, False)
