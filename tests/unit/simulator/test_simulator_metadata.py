"""The metadata server, called directly: a token first, then the credentials of the role."""

import json

import pytest

from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError
from tair_simulator.metadata import ROLE_PATH, TOKEN_PATH, action_of, answer, check
from tair_simulator.seed import parse_seed
from tests.unit.simulator.moving_clock import Time

SEED = """
roles:
  acs:ram::42:role/node: {policies: [{effect: Allow, actions: ['kvstore:*']}]}
  acs:ram::42:role/other: {sessionSeconds: 60}
ecs: {role: node}
"""
TTL = "x-aliyun-ecs-metadata-token-ttl-seconds"
TOKEN = "x-aliyun-ecs-metadata-token"


@pytest.fixture
def time() -> Time:
    """The clock of the cloud."""
    return Time()


@pytest.fixture
def cloud(time: Time) -> Cloud:
    """A cloud with an ECS instance that has a role."""
    return Cloud(parse_seed(SEED), time)


def ask(cloud: Cloud, method: str, path: str, headers: dict[str, str]) -> str:
    """Send a request; return the text of the answer."""
    check(cloud, method, path, headers)
    return answer(cloud, path, headers)


def token(cloud: Cloud, seconds: int = 21_600) -> dict[str, str]:
    """Return the header with a new token."""
    return {TOKEN: ask(cloud, "PUT", TOKEN_PATH, {TTL: str(seconds)})}


def refused(cloud: Cloud, method: str, path: str, headers: dict[str, str]) -> int:
    """Return the HTTP status of a refusal."""
    with pytest.raises(CloudError) as caught:
        ask(cloud, method, path, headers)
    return caught.value.http_status


def test_names_the_role_and_gives_its_credentials(cloud: Cloud) -> None:
    headers = token(cloud)

    credentials = json.loads(ask(cloud, "GET", f"{ROLE_PATH}node", headers))

    key = cloud.keys[credentials["AccessKeyId"]]
    assert ask(cloud, "GET", ROLE_PATH, headers) == ask(cloud, "GET", ROLE_PATH[:-1], headers) == "node"
    assert (credentials["Code"], credentials["LastUpdated"], credentials["Expiration"]) == (
        "Success",
        "2026-01-02T03:04:05Z",
        "2026-01-02T09:04:05Z",
    )
    assert key.secret.get_secret_value() == credentials["AccessKeySecret"]
    assert key.security_token is not None
    assert key.security_token.get_secret_value() == credentials["SecurityToken"]
    assert (key.role, key.account_id) == ("acs:ram::42:role/node", "42")


def test_gives_nothing_without_a_token_that_is_good(cloud: Cloud, time: Time) -> None:
    headers = token(cloud, 60)

    assert refused(cloud, "GET", ROLE_PATH, {}) == 403
    assert refused(cloud, "GET", f"{ROLE_PATH}node", {TOKEN: "made-up"}) == 403
    time.pass_by(59)
    assert ask(cloud, "GET", ROLE_PATH, headers) == "node"
    time.pass_by(1)
    assert refused(cloud, "GET", ROLE_PATH, headers) == 403
    assert ask(cloud, "GET", ROLE_PATH, token(cloud)) == "node"


@pytest.mark.parametrize("seconds", ["", "0", "21601", "-1", "1.5", "\u00b2", "999999"])
def test_a_token_lives_from_a_second_to_six_hours(cloud: Cloud, seconds: str) -> None:
    assert refused(cloud, "PUT", TOKEN_PATH, {TTL: seconds}) == 400


def test_finds_nothing_but_the_role_that_is_attached(cloud: Cloud) -> None:
    headers = token(cloud)
    unknown = [refused(cloud, "GET", path, headers) for path in (f"{ROLE_PATH}other", "/latest/meta-data/instance-id")]
    cloud.directory.put_ecs({"role": "other"})
    other = json.loads(ask(cloud, "GET", f"{ROLE_PATH}other", headers))
    cloud.directory.put_ecs({})

    assert unknown == [404, 404]
    assert other["Expiration"] == "2026-01-02T03:05:05Z"
    assert refused(cloud, "GET", ROLE_PATH, headers) == 404
    assert refused(cloud, "GET", f"{ROLE_PATH}other", headers) == 404


def test_a_role_that_is_detached_after_the_check_is_not_found(cloud: Cloud) -> None:
    headers = token(cloud)
    check(cloud, "GET", ROLE_PATH, headers)
    cloud.directory.put_ecs({})

    with pytest.raises(CloudError, match="404 NotFound"):
        answer(cloud, ROLE_PATH, headers)


@pytest.mark.parametrize(("method", "path"), [("GET", TOKEN_PATH), ("POST", ROLE_PATH), ("PUT", ROLE_PATH)])
def test_each_path_has_its_method(cloud: Cloud, method: str, path: str) -> None:
    assert refused(cloud, method, path, token(cloud) | {TTL: "60"}) == 405


def test_each_path_has_a_name_for_the_ledger() -> None:
    names = [action_of(path) for path in (TOKEN_PATH, ROLE_PATH, ROLE_PATH[:-1], f"{ROLE_PATH}node", "/latest/x")]

    assert names == ["MetadataToken", "MetadataRole", "MetadataRole", "MetadataCredentials", "Metadata"]


def test_reset_forgets_the_tokens(cloud: Cloud) -> None:
    headers = token(cloud)

    cloud.reset()

    assert refused(cloud, "GET", ROLE_PATH, headers) == 403
