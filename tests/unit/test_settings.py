"""Settings: every mistake at once, no value echoed, nothing guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tair_operator.scope import WHOLE_CLUSTER, Scope
from tair_operator.settings import CredentialsSource, Settings, SettingsError, load_settings
from tair_operator.situation import Policy
from tests.builders import seconds
from tests.selectors import INVALID_SELECTORS, VALID_SELECTORS

SECRET = "LTAI5tSecretThatWentAstray"


@pytest.fixture(autouse=True)
def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415 - only to clear what the developer's shell has set

    for name in [name for name in os.environ if name.upper().startswith("TAIR_OPERATOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> "Load":
    return Load(monkeypatch)


class Load:
    """Loads settings from variables (by their short names) and flags."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, variables: Mapping[str, str] | None = None, **flags: Any) -> Settings:  # noqa: ANN401
        environ = {f"TAIR_OPERATOR_{name}": value for name, value in (variables or {}).items()}
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)
        return load_settings(flags, environ)

    def mistakes(self, variables: Mapping[str, str] | None = None, **flags: Any) -> list[str]:  # noqa: ANN401
        with pytest.raises(SettingsError) as caught:
            self(variables, **flags)
        return str(caught.value).splitlines()


def test_everything_has_a_default(load: Load) -> None:
    settings = load()

    assert settings.policy == Policy(settle=seconds(300), stall_grace=seconds(120), resync=seconds(600))
    assert settings.http_host_and_port == ("0.0.0.0", 8080)  # noqa: S104
    assert settings.access_file is None
    assert settings.endpoint is None


def test_variables_are_read(load: Load) -> None:
    settings = load({"RESYNC_SECONDS": "60", "ACCESS_FILE": "/etc/access.yaml", "HTTP_ADDRESS": ":9090"})

    assert settings.policy.resync == seconds(60)
    assert settings.access_file == Path("/etc/access.yaml")
    assert settings.http_host_and_port == ("0.0.0.0", 9090)  # noqa: S104


def test_an_empty_variable_is_none(load: Load) -> None:
    assert load({"ENDPOINT": "", "RESYNC_SECONDS": ""}).resync_seconds == 600


def test_a_flag_wins(load: Load) -> None:
    assert load({"WORKERS": "3"}, workers="5").workers == 5


def test_settings_are_frozen(load: Load) -> None:
    settings = load()

    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 3  # type: ignore[misc]


def test_every_mistake_has_one_line_and_no_value(load: Load) -> None:
    mistakes = load.mistakes(
        {
            "WORKERS": SECRET,
            "RESYNC_SECONDS": "59",
            "ENDPOINT": f"https://user:{SECRET}@example.com",
            "LOG_FORMAT": SECRET,
            "HTTP_ADDRESS": SECRET,
            "ACCES_FILE": SECRET,
        }
    )

    assert not any(SECRET in mistake for mistake in mistakes)
    assert sorted(mistake.split(" (")[0] for mistake in mistakes) == [
        "TAIR_OPERATOR_ACCES_FILE: there is no such setting; `tair-operator --help` lists all",
        "TAIR_OPERATOR_ENDPOINT: must be http(s)://host[:port] without path, query or user",
        "TAIR_OPERATOR_HTTP_ADDRESS: String should match pattern '^.*:\\d{1,5}$'",
        "TAIR_OPERATOR_LOG_FORMAT: Input should be 'json' or 'plain'",
        "TAIR_OPERATOR_RESYNC_SECONDS: Input should be greater than or equal to 60",
        "TAIR_OPERATOR_WORKERS: Input should be a valid integer, unable to parse string as an integer",
    ]


def test_a_mistake_explains_the_setting(load: Load) -> None:
    (mistake,) = load.mistakes({"WORKERS": "0"})

    assert mistake == (
        "TAIR_OPERATOR_WORKERS: Input should be greater than or equal to 1 "
        "(How many resources are worked on at once, 1 to 50.)"
    )


def test_an_explanation_of_several_lines_stays_in_one(load: Load) -> None:
    (mistake,) = load.mistakes(access_file=3)

    assert mistake.startswith("TAIR_OPERATOR_ACCESS_FILE: ")
    assert mistake.endswith("Without it nothing is permitted.)")


def test_a_flag_that_does_not_exist_is_a_mistake(load: Load) -> None:
    assert load.mistakes(wrokers="3") == ["TAIR_OPERATOR_WROKERS: Extra inputs are not permitted"]


def test_unknown_variables_alone_stop_the_start(load: Load) -> None:
    assert load.mistakes({"FOO": "1", "BAR": "2"}) == [
        "TAIR_OPERATOR_BAR: there is no such setting; `tair-operator --help` lists all",
        "TAIR_OPERATOR_FOO: there is no such setting; `tair-operator --help` lists all",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_PROTO",
        "PORT_8080_TCP_PORT",
        "PORT_8080_TCP_ADDR",
        "METRICS_SERVICE_HOST",
        "METRICS_PORT_8080_TCP_ADDR",
    ],
)
def test_what_kubelet_injects_for_a_service_is_nobodys_mistake(load: Load, name: str) -> None:
    assert load({name: "tcp://10.0.0.1:8080"}) == load()


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443", "https://[::1]:8443"])
def test_an_endpoint_is_an_origin(load: Load, url: str) -> None:
    assert load({"ENDPOINT": f"{url}/"}).endpoint == url


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://example.com/path",
        "https://example.com?query",
        "https://example.com#fragment",
        "https://user@example.com",
        f"https://:{SECRET}@example.com",
        f"https://example.com:{SECRET}",
        "https://example.com:99999",
        "https://example.com:0",
        "https://[::1",
        f"https://{SECRET}℀@example.com",
    ],
)
def test_anything_else_is_no_endpoint(load: Load, url: str) -> None:
    (mistake,) = load.mistakes(endpoint=url)

    assert mistake.startswith("TAIR_OPERATOR_ENDPOINT: must be http(s)://host[:port] without path, query or user (")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "HTTP://127.0.0.1:8000"])
def test_plain_http_has_to_be_wanted(load: Load, url: str) -> None:
    mistakes = load.mistakes({"ENDPOINT": url})

    assert [mistake.split(" (")[0] for mistake in mistakes] == [
        "TAIR_OPERATOR_ALLOW_HTTP: the endpoint is plain http: use https, or set this to true for the simulator"
    ]
    assert load({"ENDPOINT": url, "ALLOW_HTTP": "true"}).endpoint == url


def test_plain_http_is_reported_together_with_other_mistakes(load: Load) -> None:
    assert len(load.mistakes({"ENDPOINT": "http://127.0.0.1", "WORKERS": "0"})) == 2


@pytest.mark.parametrize("name", ["STS_ENDPOINT", "ECS_METADATA_ENDPOINT"])
def test_the_other_endpoints_are_origins_too(load: Load, name: str) -> None:
    (mistake,) = load.mistakes({name: f"https://{SECRET}@example.com/path"})

    assert mistake.startswith(f"TAIR_OPERATOR_{name}: must be http(s)://host[:port] without path, query or user (")
    assert SECRET not in mistake


def test_each_plain_http_endpoint_is_named(load: Load) -> None:
    url = "http://127.0.0.1:8000"
    variables = {"ENDPOINT": "https://example.com", "STS_ENDPOINT": url, "ECS_METADATA_ENDPOINT": url}

    (mistake,) = load.mistakes(variables)

    assert mistake.split(" (")[0] == (
        "TAIR_OPERATOR_ALLOW_HTTP: the STS endpoint and the metadata endpoint are plain http: use https, or set this "
        "to true for the simulator"
    )
    assert load(variables | {"ALLOW_HTTP": "true"}).sts_endpoint == url


def test_the_real_metadata_service_speaks_http_and_needs_no_permission(load: Load) -> None:
    assert load().ecs_metadata_endpoint == "http://100.100.100.200"
    assert load({"ECS_METADATA_ENDPOINT": "http://100.100.100.200/"}).allow_http is False


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, CredentialsSource.ENVIRONMENT),
        ({"CREDENTIALS_DIRECTORY": "/keys"}, CredentialsSource.FILES),
        ({"CREDENTIALS_DIRECTORY": "/keys", "CREDENTIALS_SOURCE": "Files"}, CredentialsSource.FILES),
        ({"CREDENTIALS_SOURCE": "Environment"}, CredentialsSource.ENVIRONMENT),
        ({"CREDENTIALS_SOURCE": "RRSA"}, CredentialsSource.RRSA),
        ({"CREDENTIALS_SOURCE": "ECSRAMRole", "ECS_ROLE_NAME": "node"}, CredentialsSource.ECS_RAM_ROLE),
    ],
    ids=str,
)
def test_there_is_one_source_of_credentials(load: Load, variables: dict[str, str], expected: CredentialsSource) -> None:
    assert load(variables).own_source is expected


ROLE = "acs:ram::1234567890123456:role/tair"
FOR_STS = {"VPC_ENDPOINTS": "true", "CREDENTIALS_SOURCE": "RRSA"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"CREDENTIALS_SOURCE": "Files"},
            "CREDENTIALS_SOURCE: Files needs TAIR_OPERATOR_CREDENTIALS_DIRECTORY",
        ),
        (
            {"CREDENTIALS_SOURCE": "RRSA", "CREDENTIALS_DIRECTORY": SECRET},
            "CREDENTIALS_SOURCE: TAIR_OPERATOR_CREDENTIALS_DIRECTORY is set, which is for Files: unset one of the two",
        ),
        (
            {"CREDENTIALS_SOURCE": "Environment", "CREDENTIALS_DIRECTORY": SECRET},
            "CREDENTIALS_SOURCE: TAIR_OPERATOR_CREDENTIALS_DIRECTORY is set, which is for Files: unset one of the two",
        ),
        (
            {"CREDENTIALS_SOURCE": SECRET},
            "CREDENTIALS_SOURCE: Input should be 'Environment', 'Files', 'RRSA' or 'ECSRAMRole'",
        ),
        (
            {"ECS_ROLE_NAME": SECRET},
            "ECS_ROLE_NAME: set TAIR_OPERATOR_CREDENTIALS_SOURCE to ECSRAMRole as well, or unset this",
        ),
        (
            {"ASSUME_ROLE_EXTERNAL_ID": SECRET},
            "ASSUME_ROLE_EXTERNAL_ID: set TAIR_OPERATOR_ASSUME_ROLE_ARN as well, or unset this",
        ),
        (
            {"STS_REGION": "cn-hangzhou", "STS_ENDPOINT": "https://example.com"},
            "STS_REGION: TAIR_OPERATOR_STS_ENDPOINT is set as well: unset one of the two",
        ),
        (FOR_STS, "STS_REGION: needed with TAIR_OPERATOR_VPC_ENDPOINTS: inside a VPC there is one STS per region"),
        (
            {"VPC_ENDPOINTS": "true", "ASSUME_ROLE_ARN": ROLE},
            "STS_REGION: needed with TAIR_OPERATOR_VPC_ENDPOINTS: inside a VPC there is one STS per region",
        ),
        ({"ROLE_SESSION_SECONDS": "899"}, "ROLE_SESSION_SECONDS: Input should be greater than or equal to 900"),
        ({"ROLE_SESSION_SECONDS": "43201"}, "ROLE_SESSION_SECONDS: Input should be less than or equal to 43200"),
    ],
    ids=str,
)
def test_settings_of_credentials_that_do_not_go_together(load: Load, variables: dict[str, str], expected: str) -> None:
    (mistake,) = load.mistakes(variables)

    assert mistake.split(" (")[0] == f"TAIR_OPERATOR_{expected}"
    assert SECRET not in mistake


@pytest.mark.parametrize(
    "name",
    ["ASSUME_ROLE_ARN", "OIDC_PROVIDER_ARN", "ROLE_SESSION_NAME", "STS_REGION"],
)
def test_what_is_no_arn_name_or_region_is_refused_without_being_shown(load: Load, name: str) -> None:
    (mistake,) = load.mistakes({name: f"{SECRET} x"})

    assert mistake.startswith(f"TAIR_OPERATOR_{name}: String should match pattern ")
    assert SECRET not in mistake


def test_all_mistakes_about_credentials_are_reported_at_once(load: Load) -> None:
    mistakes = load.mistakes(
        {
            "CREDENTIALS_SOURCE": "Files",
            "ASSUME_ROLE_ARN": "tair",
            "OIDC_PROVIDER_ARN": ROLE,
            "STS_ENDPOINT": "sts",
            "ROLE_SESSION_SECONDS": "1",
            "ASSUME_ROLE_EXTERNAL_ID": "ours",
        }
    )

    assert sorted(mistake.split(":")[0] for mistake in mistakes) == [
        "TAIR_OPERATOR_ASSUME_ROLE_ARN",
        "TAIR_OPERATOR_CREDENTIALS_SOURCE",
        "TAIR_OPERATOR_OIDC_PROVIDER_ARN",
        "TAIR_OPERATOR_ROLE_SESSION_SECONDS",
        "TAIR_OPERATOR_STS_ENDPOINT",
    ]


@pytest.mark.parametrize(
    "variables",
    [
        FOR_STS | {"STS_REGION": "cn-hangzhou"},
        FOR_STS | {"STS_ENDPOINT": "https://sts.aliyuncs.com"},
        {"VPC_ENDPOINTS": "true"},
        {"ASSUME_ROLE_ARN": ROLE, "ASSUME_ROLE_EXTERNAL_ID": "ours"},
        {"ECS_METADATA_ENDPOINT": "https://example.com", "OIDC_PROVIDER_ARN": ROLE.replace("role", "oidc-provider")},
    ],
    ids=str,
)
def test_settings_of_credentials_that_go_together(load: Load, variables: dict[str, str]) -> None:
    assert load(variables).role_session_name == "tair-operator"


def test_a_port_is_a_port(load: Load) -> None:
    (mistake,) = load.mistakes({"HTTP_ADDRESS": "127.0.0.1:99999"})

    assert mistake == (
        "TAIR_OPERATOR_HTTP_ADDRESS: the port must be 0 to 65535 (host:port for /livez, /readyz and /metrics.)"
    )


def test_each_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_help_explains_each_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tair_operator.__main__ import parse_flags  # noqa: PLC0415 - the composition root imports everything

    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--help"])
    text = capsys.readouterr().out

    assert caught.value.code == 0
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} VALUE" in text
        assert " ".join((field.description or "").split()) in text


def test_a_leader_is_elected_in_a_pod_unless_told_otherwise(load: Load) -> None:
    assert load().leader_election is None
    assert load({"LEADER_ELECTION": "false"}).leader_election is False
    assert load({"LEADER_ELECTION": "true"}).leader_election is True


@pytest.mark.parametrize(
    ("variables", "mistake"),
    [
        ({"LEASE_SECONDS": "10"}, "LEASE_RENEW_DEADLINE_SECONDS: must be less than TAIR_OPERATOR_LEASE_SECONDS"),
        (
            {"LEASE_RETRY_SECONDS": "5.5"},
            "LEASE_RETRY_SECONDS: must be at most half of TAIR_OPERATOR_LEASE_RENEW_DEADLINE_SECONDS",
        ),
        (
            {"CALL_TIMEOUT_SECONDS": "7", "LEASE_SECONDS": "11"},
            "LEASE_RETRY_SECONDS: TAIR_OPERATOR_CALL_TIMEOUT_SECONDS must be less than TAIR_OPERATOR_LEASE_SECONDS",
        ),
        ({"LEASE_SECONDS": "1"}, "LEASE_SECONDS: Input should be greater than or equal to 2"),
        ({"LEASE_NAME": "Not_A_Name"}, "LEASE_NAME: String should match pattern"),
        ({"LEASE_NAMESPACE": "a.b"}, "LEASE_NAMESPACE: String should match pattern"),
    ],
)
def test_a_lease_that_could_end_before_a_call_is_a_mistake(load: Load, variables: dict[str, str], mistake: str) -> None:
    [line] = load.mistakes(variables)

    assert line.startswith(f"TAIR_OPERATOR_{mistake}")


def test_a_quick_lease_needs_a_quick_call(load: Load) -> None:
    quick = {"LEASE_SECONDS": "3", "LEASE_RENEW_DEADLINE_SECONDS": "2", "LEASE_RETRY_SECONDS": "0.5"}

    assert load(quick | {"CALL_TIMEOUT_SECONDS": "1.9"}).lease_seconds == 3
    assert len(load.mistakes(quick | {"CALL_TIMEOUT_SECONDS": "2"})) == 1


# --- scope ---


def test_absent_settings_mean_the_whole_cluster(load: Load) -> None:
    assert load().scope == WHOLE_CLUSTER
    assert str(load().scope) == "every TairInstance in all namespaces"


def test_namespaces_and_a_selector_make_a_scope(load: Load) -> None:
    scope = load({"WATCH_NAMESPACES": "team-a, team-b,team-a", "WATCH_LABEL_SELECTOR": "shard in (a,b)"}).scope

    assert scope == Scope(("team-a", "team-b"), "shard in (a,b)")
    assert str(scope) == "TairInstances with shard in (a,b) in namespaces team-a, team-b"


@pytest.mark.parametrize(
    "text", ["", ",", "team-a,", "Team-A", "team_a", "team.a", "*", "-a", "a-", "a" * 64, "team-a team-b"]
)
def test_what_is_no_name_of_a_namespace_is_refused_and_never_taken_for_all(load: Load, text: str) -> None:
    [line] = load.mistakes(watch_namespaces=text)

    assert line.startswith("TAIR_OPERATOR_WATCH_NAMESPACES: must be names of namespaces, separated by commas: number ")


def test_the_position_of_the_mistake_is_told_and_its_text_is_not(load: Load) -> None:
    [line] = load.mistakes({"WATCH_NAMESPACES": f"team-a,{SECRET}"})

    assert "number 2 is no DNS label" in line
    assert SECRET not in line


@pytest.mark.parametrize("text", VALID_SELECTORS)
def test_a_selector_is_taken_as_it_is(load: Load, text: str) -> None:
    assert load(watch_label_selector=text).scope.selector == text


@pytest.mark.parametrize("text", INVALID_SELECTORS)
def test_what_is_no_selector_is_refused(load: Load, text: str) -> None:
    [line] = load.mistakes(watch_label_selector=text)

    assert line.startswith("TAIR_OPERATOR_WATCH_LABEL_SELECTOR: is no label selector: write requirements as shard=a, ")


def test_a_flag_that_is_none_is_named_without_what_stands_behind_it() -> None:
    from tair_operator.__main__ import parse_flags  # noqa: PLC0415 - the composition root imports everything

    with pytest.raises(SettingsError) as caught:
        parse_flags([f"--access-key-secret={SECRET}", "--workers=3", SECRET])

    assert str(caught.value).splitlines() == [
        "--access-key-secret: there is no such flag; `--help` lists all",
        "an argument: there is no such flag; `--help` lists all",
    ]
