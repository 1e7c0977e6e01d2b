"""Flow control: how many calls are let through, and what the others are told."""

import pytest

from tair_simulator.errors import CloudError
from tair_simulator.mistakes import parse
from tair_simulator.throttling import Throttle, Throttling
from tests.unit.simulator.moving_clock import Time


def throttle(**limits: object) -> Throttle:
    """Return flow control with these limits."""
    return Throttle(parse(Throttling, limits))


def verdict(subject: Throttle, time: Time, key: str = "a", account: str = "1", action: str = "Describe") -> str:
    """Count a call; return the code that it is refused with, or nothing."""
    try:
        subject.take(key, account, action, time())
    except CloudError as error:
        return f"{error.http_status} {error.code} {error.retry_after_ms}"
    return ""


def test_is_off_unless_somebody_turns_it_on() -> None:
    assert [verdict(throttle(), Time()) for _ in range(1000)] == [""] * 1000


def test_a_burst_passes_at_once_and_the_rest_at_its_rate() -> None:
    subject, time = throttle(user={"callsPerSecond": 2, "burst": 3}), Time()
    at_once = [verdict(subject, time) for _ in range(4)]
    time.pass_by(0.4)
    too_soon = verdict(subject, time)
    time.pass_by(0.1)
    in_time = verdict(subject, time)
    time.pass_by(60)

    assert at_once == ["", "", "", "400 Throttling.User None"]
    assert (too_soon, in_time) == ("400 Throttling.User None", "")
    assert [verdict(subject, time) for _ in range(4)] == at_once


def test_says_when_to_come_back_and_means_it() -> None:
    subject, time = throttle(user={"callsPerSecond": 3, "retryAfter": True}), Time()
    first, refused = verdict(subject, time), verdict(subject, time)
    time.pass_by(0.334)

    assert (first, refused, verdict(subject, time)) == ("", "400 Throttling.User 334", "")


def test_every_key_has_its_own_bucket_unless_the_account_shares_one() -> None:
    time = Time()
    own = throttle(user={"callsPerSecond": 1})
    shared = throttle(user={"callsPerSecond": 1, "per": "account"})

    assert [verdict(own, time, key) for key in "aba"] == ["", "", "400 Throttling.User None"]
    assert [verdict(shared, time, key, account) for key, account in [("a", "1"), ("b", "1"), ("c", "2")]] == [
        "",
        "400 Throttling.User None",
        "",
    ]


def test_an_api_has_a_bucket_of_its_own_for_all_keys_of_an_account() -> None:
    subject, time = throttle(apis={"Release": {"callsPerSecond": 1}, "*": {"callsPerSecond": 1, "burst": 2}}), Time()

    assert [verdict(subject, time, key, action="Release") for key in "ab"] == ["", "403 Throttling.Api None"]
    assert [verdict(subject, time, action="Describe") for _ in range(3)] == ["", "", "403 Throttling.Api None"]
    assert verdict(subject, time, action="Allocate") == ""


def test_an_api_that_is_not_named_has_no_limit() -> None:
    subject, time = throttle(apis={"Release": {"callsPerSecond": 1}}), Time()

    assert [verdict(subject, time, action="Describe") for _ in range(3)] == ["", "", ""]


def test_what_is_refused_costs_nothing() -> None:
    subject, time = throttle(user={"callsPerSecond": 1, "burst": 2}, apis={"Release": {"callsPerSecond": 1}}), Time()
    calls = [verdict(subject, time, action=action) for action in ("Release", "Release", "Describe", "Describe")]

    assert calls == ["", "403 Throttling.Api None", "", "400 Throttling.User None"]


@pytest.mark.parametrize("seconds", [-5, 0])
def test_a_clock_that_stands_or_goes_back_gives_nothing(seconds: float) -> None:
    subject, time = throttle(user={"callsPerSecond": 1}), Time()
    verdict(subject, time)
    time.pass_by(seconds)

    assert verdict(subject, time) == "400 Throttling.User None"
