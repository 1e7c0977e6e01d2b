"""The table of a profile: which part of the time was spent in which modules."""

from collections import Counter

import pytest

from benchmarks.profile import OTHER, group_of, read, shares


@pytest.mark.parametrize(
    ("function", "group"),
    [
        ("asyncio.sslproto:SSLProtocol.buffer_updated", "TLS (asyncio.sslproto, ssl)"),
        ("asyncio.events:Handle._run", "asyncio"),
        ("tair_operator.aliyun.wire:post", "tair_operator: the cloud"),
        ("tair_operator.plan:decide", "tair_operator: passes, decisions, status, queue"),
        ("json.decoder:JSONDecoder.raw_decode", "JSON"),
        ("re:fullmatch", OTHER),
    ],
)
def test_a_function_counts_for_the_row_of_the_longest_name_that_has_one(function: str, group: str) -> None:
    assert group_of(function) == group


def test_a_sample_counts_once_for_the_innermost_function_and_once_for_each_group_around_it() -> None:
    stacks = read(["asyncio.events:run;kopf.a:f;kopf.b:g;json:loads 3", "asyncio.events:run;kopf.a:f 1"])

    assert shares(stacks) == [("JSON", 0.75, 0.75), ("kopf", 0.25, 1.0)]


def test_nothing_seen_is_an_empty_table() -> None:
    assert shares(Counter()) == []
