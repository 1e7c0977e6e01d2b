"""Temporary credentials: when they are fetched anew, and what they follow."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tair_operator.aliyun.credentials.keys import Credentials, trouble
from tair_operator.aliyun.credentials.sessions import DerivedCredentials, SessionCredentials
from tair_operator.models import Reason
from tair_operator.ports import CloudError
from tests.fakes import FakeClock

HOUR = timedelta(hours=1)


@dataclass
class Issuer:
    """Issues credentials with this life."""

    clock: FakeClock
    life: timedelta | None = HOUR
    issued: list[object] = field(default_factory=list)

    async def issue(self, to: object = None) -> Credentials:
        self.issued.append(to)
        expires_at = None if self.life is None else self.clock.now() + self.life
        return Credentials(f"STS.{len(self.issued)}", "secret", "token", expires_at)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issuer(clock: FakeClock) -> Issuer:
    return Issuer(clock)


@pytest.mark.parametrize(
    ("life", "due"),
    [(HOUR, timedelta(minutes=45)), (timedelta(minutes=20), timedelta(minutes=15)), (6 * HOUR, timedelta(minutes=345))],
)
async def test_credentials_are_fetched_anew_well_before_they_expire(
    issuer: Issuer, clock: FakeClock, life: timedelta, due: timedelta
) -> None:
    issuer.life = life
    credentials = SessionCredentials(issuer.issue, clock)
    first = await credentials.get()
    clock.advance(due)
    still = await credentials.get()
    clock.advance(1)

    assert first is still
    assert (await credentials.get()).access_key_id == "STS.2"
    assert credentials.expires_at == clock.now() + life


async def test_the_time_that_the_machine_slept_counts(issuer: Issuer, clock: FakeClock) -> None:
    credentials = SessionCredentials(issuer.issue, clock)
    await credentials.get()
    clock.sleep_machine(HOUR.total_seconds())

    assert (await credentials.get()).access_key_id == "STS.2"


async def test_credentials_that_do_not_expire_are_kept(issuer: Issuer, clock: FakeClock) -> None:
    issuer.life = None
    credentials = SessionCredentials(issuer.issue, clock)
    first = await credentials.get()
    clock.advance(1000 * HOUR)

    assert await credentials.get() is first
    assert credentials.expires_at is None


@pytest.mark.parametrize("life", [timedelta(0), -HOUR])
async def test_credentials_that_seem_to_have_expired_point_at_the_clock(
    issuer: Issuer, clock: FakeClock, life: timedelta
) -> None:
    issuer.life = life
    credentials = SessionCredentials(issuer.issue, clock)
    with pytest.raises(CloudError) as caught:
        await credentials.get()

    assert (caught.value.code, caught.value.reason) == ("CredentialsMalformed", Reason.CREDENTIALS_INVALID)
    assert caught.value.message == (
        "credentials were issued that have expired already: compare the clock of the node with the time"
    )
    assert credentials.expires_at is None


async def test_after_a_refusal_by_the_cloud_they_are_fetched_anew_once(issuer: Issuer, clock: FakeClock) -> None:
    credentials = SessionCredentials(issuer.issue, clock)
    await credentials.get()
    clock.advance(60)

    for _ in range(10):
        # Ten calls were on their way with the old ones, and their answers arrive one after the other.
        credentials.invalidate()
        await credentials.get()

    assert len(issuer.issued) == 2


class Reading:
    """Something in Kubernetes that says a word."""

    def __init__(self, word: str) -> None:
        self.word: str | CloudError = word
        self.reads = 0

    async def read(self) -> str:
        self.reads += 1
        if isinstance(self.word, CloudError):
            raise self.word
        return self.word


async def test_what_credentials_rest_on_is_read_once_a_minute_and_what_was_derived_is_kept(
    issuer: Issuer, clock: FakeClock
) -> None:
    reading = Reading("role")
    credentials = DerivedCredentials(reading.read, issuer.issue, clock)

    for _ in range(30):
        await credentials.get()
        clock.advance(10)

    assert (reading.reads, issuer.issued) == (5, ["role"])
    assert credentials.expires_at is not None


async def test_when_it_says_something_else_other_credentials_follow_within_a_minute(
    issuer: Issuer, clock: FakeClock
) -> None:
    reading = Reading("old")
    credentials = DerivedCredentials(reading.read, issuer.issue, clock)
    await credentials.get()
    reading.word = "new"
    clock.advance(61)

    assert (await credentials.get()).access_key_id == "STS.2"
    assert issuer.issued == ["old", "new"]


async def test_when_it_is_gone_the_credentials_are_not_used_any_more(issuer: Issuer, clock: FakeClock) -> None:
    reading = Reading("role")
    credentials = DerivedCredentials(reading.read, issuer.issue, clock)
    await credentials.get()
    reading.word = trouble("CredentialsMissing", "gone")
    clock.advance(61)

    with pytest.raises(CloudError, match="gone"):
        await credentials.get()


async def test_after_a_refusal_by_the_cloud_it_is_read_again_at_once(issuer: Issuer, clock: FakeClock) -> None:
    reading = Reading("old")
    credentials = DerivedCredentials(reading.read, issuer.issue, clock)
    credentials.invalidate()
    await credentials.get()
    reading.word = "new"
    credentials.invalidate()
    await credentials.get()

    assert issuer.issued == ["old", "new"]


async def test_after_a_refusal_by_sts_it_is_read_again_too(clock: FakeClock) -> None:
    reading = Reading("old")

    async def refuse(word: str) -> Credentials:
        if word == "old":
            raise trouble("InvalidAccessKeyId.NotFound", "no such key", action="AssumeRole", http_status=404)
        return Credentials("STS.new", "secret", "token")

    credentials = DerivedCredentials(reading.read, refuse, clock)
    with pytest.raises(CloudError, match="no such key"):
        await credentials.get()
    reading.word = "new"

    assert (await credentials.get()).access_key_id == "STS.new"


async def test_after_a_throttled_exchange_it_is_not_read_again(clock: FakeClock) -> None:
    reading = Reading("role")

    async def refuse(_: str) -> Credentials:
        raise trouble("Throttling.User", "slow down", action="AssumeRole", http_status=400)

    credentials = DerivedCredentials(reading.read, refuse, clock)
    for _ in range(3):
        with pytest.raises(CloudError, match="slow down"):
            await credentials.get()

    assert reading.reads == 1
