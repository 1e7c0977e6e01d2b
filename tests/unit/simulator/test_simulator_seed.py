"""Seeds: what they may hold, and how their mistakes are reported."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tair_simulator.__main__ import main
from tair_simulator.authorization import permit
from tair_simulator.cloud import Cloud, utc_now
from tair_simulator.errors import CloudError
from tair_simulator.mistakes import InputError
from tair_simulator.seed import Seed, parse_seed, read_seed

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/simulator/seed.yaml"
SEED_FIELDS = "accessKeys, ecs, instances, oidcProviders, roles, throttling"
KEY_FIELDS = (
    "accountId, deniedCode, displayName, expiration, policies, principalType, role, secret, securityToken, status, "
    "tokens"
)


def mistakes(text: str) -> list[str]:
    """Return the lines that a bad seed is refused with."""
    with pytest.raises(InputError) as caught:
        parse_seed(text)
    return caught.value.lines


def test_the_example_can_be_read() -> None:
    seed = read_seed(EXAMPLE)

    assert list(seed.access_keys) == ["demoAccessKeyId", "auditorAccessKeyId", "rotatingAccessKeyId"]
    assert {name: (instance.region_id, instance.direct_connection) for name, instance in seed.instances.items()} == {
        "r-bp1zxszhcgatnx0001": ("cn-hangzhou", True),
        "r-bp1zxszhcgatnx0002": ("cn-hangzhou", False),
        "r-bp1zxszhcgatnx0003": ("cn-hangzhou", True),
        "r-bp1zxszhcgatnx0004": ("cn-hangzhou", False),
        "r-2zexszhcgatnx0005": ("cn-beijing", True),
    }


def test_what_the_example_has_in_comments_can_be_read_too() -> None:
    lines = [line[4:] for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line.startswith("#   ")]

    limits = parse_seed("\n".join(lines[lines.index("throttling:") :])).throttling

    assert limits.user is not None
    assert (limits.user.per, list(limits.apis)) == ("account", ["ReleaseDirectConnection"])


def test_the_example_forbids_what_its_comments_say() -> None:
    cloud = Cloud(read_seed(EXAMPLE), utc_now)
    call = {"InstanceId": "r-bp1zxszhcgatnx0001"}

    permit(cloud, "auditorAccessKeyId", "DescribeDBInstanceNetInfo", call, None)
    with pytest.raises(CloudError, match=r"Forbidden\.RAM"):
        permit(cloud, "auditorAccessKeyId", "ReleaseDirectConnection", call, None)


def test_an_empty_file_is_an_empty_cloud() -> None:
    assert parse_seed("") == Seed()
    assert Cloud(parse_seed("# nothing\n"), utc_now).records() == []


def test_a_temporary_key_has_a_token_and_an_end() -> None:
    seed = parse_seed("accessKeys: {id: {secret: s, securityToken: t, expiration: 2026-01-02T03:04:05Z}}")

    assert seed.access_keys["id"].expiration == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_every_mistake_has_a_line_with_its_path_and_what_is_allowed() -> None:
    text = """
        accessKeys:
          a: {sekret: hunter2, secret: ''}
          b: hunter2
        instances:
          r-1: {regionId: 7, endpoint: {port: 1}}
          R_2: {}
          r-3: {regionId: cn-x, directConnection: false, endpoint: {}, timing: {lagSeconds: -1}}
          r-4: {regionId: cn-x, tags: {n: 1}, refusals: {allocateExisting: No}, engineVersion: 5.0}
        more: 1
    """

    assert mistakes(text) == [
        "accessKeys.a.secret: Value should have at least 1 item after validation, not 0",
        f"accessKeys.a.sekret: unknown field; allowed here: {KEY_FIELDS}",
        f"accessKeys.b: must be a mapping with the fields {KEY_FIELDS}",
        "instances.r-1.regionId: must be text; put it in quotes",
        "instances.r-1.endpoint.port: Input should be greater than or equal to 1024",
        "instances.R_2: String should match pattern '^[a-z][a-z0-9-]{0,62}$'",
        "instances.R_2.regionId: is required",
        "instances.r-3.endpoint: needs directConnection: true",
        "instances.r-3.timing.lagSeconds: Input should be greater than or equal to 0",
        "instances.r-4.engineVersion: must be text; put it in quotes",
        "instances.r-4.tags.n: must be text; put it in quotes",
        "instances.r-4.refusals.allocateExisting: Input should be 'NetTypeExists' or 'DirectConnectionAlreadyExists'",
        f"more: unknown field; allowed here: {SEED_FIELDS}",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- 1", f"(top level): must be a mapping with the fields {SEED_FIELDS}"),
        ("a: 1\na: 2", "line 2, column 1: not a usable key; perhaps it occurs twice in one mapping"),
        ("!!map secret", "line 1, column 1: not a usable key; perhaps it occurs twice in one mapping"),
        ("a: [1\nsecret: *secret", "line 2, column 7: not valid YAML"),
        ("a: 2026-13-45", "somewhere in the file: not valid YAML"),
        ("a: \0", "somewhere in the file: not valid YAML"),
    ],
)
def test_what_is_not_yaml_is_placed_but_never_repeated(text: str, line: str) -> None:
    assert mistakes(text) == [line]


def test_mistakes_in_policies_tokens_and_limits_have_lines_too() -> None:
    text = """
        accessKeys:
          a:
            secret: s
            policies:
              - {effect: Maybe, actions: [], resources: [everything]}
              - {effect: Allow, actions: [kvstore], resource: '*'}
            tokens: [{expiration: 2026-01-02}, hunter2]
        instances:
          r-1: {regionId: cn-x, refusals: {sslEnabled: No}, jitter: [Loud]}
        throttling:
          user: {callsPerSecond: 0, per: region}
          apis: {describe: {callsPerSecond: 1}, DescribeInstances: {burst: 0}}
    """

    assert mistakes(text) == [
        "accessKeys.a.tokens.0.token: is required",
        "accessKeys.a.tokens.0.expiration: Input should have timezone info",
        "accessKeys.a.tokens.1: must be a mapping with the fields expiration, token",
        "accessKeys.a.policies.0.effect: Input should be 'Allow' or 'Deny'",
        "accessKeys.a.policies.0.actions: List should have at least 1 item after validation, not 0",
        r"accessKeys.a.policies.0.resources.0: String should match pattern '^(\*|acs:\S+)$'",
        r"accessKeys.a.policies.1.actions.0: String should match pattern '^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$'",
        "accessKeys.a.policies.1.resource: unknown field; allowed here: actions, effect, policyType, resources",
        "instances.r-1.refusals.sslEnabled: must be text; put it in quotes",
        (
            "instances.r-1.jitter.0: Input should be 'NumbersAsText', 'TextAsNumbers', 'NoDirectConnection', "
            "'NoZeroDirectConnection', 'NetInfoObject', 'NetInfoNull' or 'NetInfoList'"
        ),
        "throttling.user.callsPerSecond: Input should be greater than 0",
        "throttling.user.per: Input should be 'accessKey' or 'account'",
        r"throttling.apis.describe: String should match pattern '^(\*|[A-Z][A-Za-z]{2,63})$'",
        "throttling.apis.DescribeInstances.callsPerSecond: is required",
        "throttling.apis.DescribeInstances.burst: Input should be greater than or equal to 1",
    ]


def test_mistakes_in_roles_and_providers_have_lines_too() -> None:
    text = """
        roles:
          reader: {}
          acs:ram::42:role/a:
            policy: []
            maxSessionSeconds: 43201
            sessionSeconds: 0
            trust: {accessKeyIds: ['a b'], oidc: [{provider: cluster}], role: x}
          acs:ram::42:role/b: {trust: []}
        oidcProviders:
          acs:ram::42:oidc-provider/c: {issuer: cluster, audiences: [], jwks: {keys: [{kty: RSA, kid: k, n: AQAB}]}}
          acs:ram::42:oidc-provider/d: {keys: []}
        ecs: {roles: [a]}
    """

    assert mistakes(text) == [
        r"roles.reader: String should match pattern '^acs:ram::[0-9]{1,20}:role/[A-Za-z0-9.@_-]{1,64}$'",
        "roles.acs:ram::42:role/a.maxSessionSeconds: Input should be less than or equal to 43200",
        "roles.acs:ram::42:role/a.sessionSeconds: Input should be greater than or equal to 1",
        "roles.acs:ram::42:role/a.trust.accessKeyIds.0: String should match pattern '^[A-Za-z0-9._*?-]{1,128}$'",
        (
            "roles.acs:ram::42:role/a.trust.oidc.0.provider: String should match pattern "
            "'^acs:ram::[0-9]{1,20}:oidc-provider/[A-Za-z0-9._-]{1,128}$'"
        ),
        "roles.acs:ram::42:role/a.trust.oidc.0.subjects: is required",
        "roles.acs:ram::42:role/a.trust.role: unknown field; allowed here: accessKeyIds, oidc, roles",
        (
            "roles.acs:ram::42:role/a.policy: unknown field; allowed here: "
            "deniedCode, maxSessionSeconds, policies, sessionSeconds, trust"
        ),
        "roles.acs:ram::42:role/b.trust: must be a mapping with the fields accessKeyIds, oidc, roles",
        r"oidcProviders.acs:ram::42:oidc-provider/c.issuer: String should match pattern '^https?://\S+$'",
        (
            "oidcProviders.acs:ram::42:oidc-provider/c.audiences: "
            "List should have at least 1 item after validation, not 0"
        ),
        (
            "oidcProviders.acs:ram::42:oidc-provider/c.jwks.keys.0: "
            "of an RSA key, n must be a modulus of 2048 to 8192 bits, and e an exponent of 2 to 64"
        ),
        "oidcProviders.acs:ram::42:oidc-provider/d.issuer: is required",
        "oidcProviders.acs:ram::42:oidc-provider/d.jwks: is required",
        "oidcProviders.acs:ram::42:oidc-provider/d.keys: unknown field; allowed here: audiences, issuer, jwks",
        "ecs.roles: unknown field; allowed here: role",
    ]


def test_a_name_that_leads_nowhere_is_a_mistake() -> None:
    text = """
        accessKeys:
          a: {secret: s, securityToken: t, role: acs:ram::42:role/none}
        roles:
          acs:ram::42:role/a: {trust: {oidc: [{provider: acs:ram::42:oidc-provider/none, subjects: ['*']}]}}
          acs:ram::43:role/a: {}
        ecs: {role: a}
    """

    assert mistakes(text) == [
        "accessKeys.a.role: names no role that exists; known: acs:ram::42:role/a, acs:ram::43:role/a",
        "ecs.role: is the name of several roles; write the ARN of one",
        "roles.acs:ram::42:role/a.trust.oidc.0.provider: names no OIDC provider that exists; known: none",
    ]


def test_a_code_that_is_not_known_is_a_mistake() -> None:
    assert mistakes("instances: {r-1: {regionId: cn-x, refusals: {noFreeIps: NoSuchCode}}}") == [
        (
            "instances.r-1.refusals.noFreeIps: "
            "must be a code that the simulator knows; docs/reference/simulator.md lists them"
        )
    ]


def test_two_endpoints_with_one_name_are_mistakes() -> None:
    text = """
        instances:
          r-1: {regionId: cn-x, directConnection: true, endpoint: {prefix: taken}}
          r-2: {regionId: cn-x, directConnection: true, endpoint: {prefix: taken}}
          r-3: {regionId: cn-x, directConnection: true, endpoint: {prefix: r-1}}
          r-4: {regionId: cn-x, directConnection: true, endpoint: {prefix: r-4}}
          r-5: {regionId: cn-x, directConnection: true}
          r-5-direct: {regionId: cn-x}
    """

    assert mistakes(text) == [
        "instances.r-2.endpoint.prefix: is taken by instances.r-1",
        "instances.r-3.endpoint.prefix: is taken by instances.r-1",
        "instances.r-5.endpoint.prefix: is taken by instances.r-5-direct",
    ]


def test_fields_of_keys_that_are_no_text_are_reported_too() -> None:
    assert mistakes("instances: {[1]: {regionId: cn-x}}")


def test_a_file_that_is_not_there_or_not_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")

    with pytest.raises(InputError, match="missing: cannot be read: No such file or directory"):
        read_seed(tmp_path / "missing")
    with pytest.raises(InputError, match="binary: cannot be read: it is not UTF-8 text"):
        read_seed(tmp_path / "binary")


def test_a_bad_seed_ends_the_command_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "seed.yaml").write_text("accessKeys: {id: hunter2}\nmore: hunter2\n")

    status = main(["--seed", str(tmp_path / "seed.yaml")])

    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    assert output.err.splitlines() == [
        f"accessKeys.id: must be a mapping with the fields {KEY_FIELDS}",
        f"more: unknown field; allowed here: {SEED_FIELDS}",
    ]


@pytest.mark.parametrize("port", ["65536", "-1", "http", "²"])
def test_a_bad_port_ends_the_command_with_2(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--port={port}"])

    assert "must be a whole number from 0 to 65535" in capsys.readouterr().err


def test_help_explains_every_flag_and_warns_about_the_control_api(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "address to listen on" in text
    assert "port to listen on" in text
    assert "YAML file" in text
    assert "trusted test environments only" in text
