"""Access keys: how they are changed and shown, and the tokens of a rotation."""

from datetime import timedelta

import pytest

from tair_simulator.access_keys import AccessKey, show
from tair_simulator.cloud import Cloud
from tair_simulator.mistakes import InputError, parse, patched
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

NOW = Time()()
KEY = parse(
    AccessKey,
    {
        "secret": "hunter2",
        "securityToken": "token0",
        "expiration": NOW - timedelta(hours=1),
        "tokens": [{"token": "token1", "expiration": NOW + timedelta(hours=1)}, {"token": "token2"}],
        "policies": [{"effect": "Allow", "actions": ["kvstore:*"]}],
    },
)


def test_shows_everything_but_secrets() -> None:
    assert show("id", KEY, NOW) == {
        "accessKeyId": "id",
        "status": "Active",
        "accountId": "1234567890123456",
        "policies": [
            {
                "effect": "Allow",
                "actions": ["kvstore:*"],
                "resources": ["*"],
                "policyType": "AccountLevelIdentityBasedPolicy",
            }
        ],
        "role": None,
        "deniedCode": "Forbidden.RAM",
        "principalType": None,
        "displayName": None,
        "tokens": [
            {"expiration": "2026-01-02T02:04:05+00:00", "expired": True},
            {"expiration": "2026-01-02T04:04:05+00:00", "expired": False},
            {"expiration": None, "expired": False},
        ],
    }


def test_a_patch_leaves_alone_what_it_does_not_name() -> None:
    assert patched(AccessKey, KEY, {}) == KEY
    assert patched(AccessKey, KEY, {"status": "Inactive"}) == KEY.model_copy(update={"status": "Inactive"})
    assert patched(AccessKey, KEY, {"policies": None}).policies is None
    assert patched(AccessKey, KEY, {"tokens": [], "securityToken": None}).all_tokens() == []


@pytest.mark.parametrize(
    ("key", "written", "line"),
    [
        (KEY, [], "(top level): must be a JSON object"),
        (None, {}, "secret: is required"),
        (KEY, {"secret": ""}, "secret: Value should have at least 1 item after validation, not 0"),
        (KEY, {"status": "Off"}, "status: Input should be 'Active' or 'Inactive'"),
    ],
)
def test_a_mistake_is_named(key: AccessKey | None, written: object, line: str) -> None:
    with pytest.raises(InputError) as caught:
        patched(AccessKey, key, written)

    assert caught.value.lines == [line]


def test_a_mistake_changes_nothing_and_reset_goes_back_to_the_seed() -> None:
    cloud = Cloud(parse_seed("accessKeys: {a: {secret: s}}"), Time())
    with pytest.raises(InputError):
        cloud.put_key("a", {"status": "Off"})
    unchanged = cloud.keys["a"]
    cloud.put_key("a", {"status": "Inactive"})
    cloud.put_key("b", {"secret": "s"})
    changed = dict(cloud.keys)
    cloud.reset()

    assert (unchanged.status, changed["a"].status, list(changed)) == ("Active", "Inactive", ["a", "b"])
    assert {name: key.status for name, key in cloud.keys.items()} == {"a": "Active"}
