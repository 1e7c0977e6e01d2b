"""Settings: every mistake at once, no value echoed, nothing guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tair_operator.settings import Settings, SettingsError, load_settings
from tair_operator.situation import Policy
from tests.builders import seconds

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
