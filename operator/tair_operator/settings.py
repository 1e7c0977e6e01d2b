"""All settings of the operator, read once from flags and ``TAIR_OPERATOR_*`` variables, then frozen.

A mistake stops the start, and all of them are reported together, one line each,
without their values: a value may be a secret that went into the wrong variable.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tair_operator.situation import Policy

PREFIX = "TAIR_OPERATOR_"
PORT_MAX = 65535
# kubelet injects these for a Service named tair-operator-something: they are nobody's mistake.
_INJECTED = re.compile(r"(_SERVICE_(HOST|PORT)(_.*)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")


class Settings(BaseSettings):
    """Settings of the operator; each is a flag and a variable of the same name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    access_file: Path | None = None
    """YAML file with the access list: which namespaces may use the operator's credentials for which instances.
    Read again when it changes. Without it nothing is permitted."""

    credentials_directory: Path | None = None
    """Directory with the files accessKeyId, accessKeySecret and optionally securityToken, as mounted from a Secret.
    Without it the variables ALIBABA_CLOUD_ACCESS_KEY_ID, _SECRET and ALIBABA_CLOUD_SECURITY_TOKEN are used."""

    endpoint: str | None = None
    """URL of another cloud endpoint, https://host[:port], for all regions. The regional ones when absent."""

    allow_http: Annotated[bool, Field(validate_default=True)] = False
    """Permit a plain http endpoint. Only for the simulator: requests are signed, not encrypted."""

    vpc_endpoints: bool = False
    """Use the endpoints inside a VPC (r-kvstore-vpc.<region>.aliyuncs.com) instead of the public ones."""

    ca_file: Path | None = None
    """PEM file with the certificate authorities to trust for the cloud endpoint, instead of the system's."""

    http_address: Annotated[str, Field(pattern=r"^.*:\d{1,5}$")] = "0.0.0.0:8080"
    """host:port for /livez, /readyz and /metrics."""

    resync_seconds: Annotated[int, Field(ge=60, le=86400)] = 600
    """How often to look for drift, 60 to 86400; spec.resyncSeconds overrides it."""

    settle_seconds: Annotated[int, Field(ge=5, le=86400)] = 300
    """How long an operation without visible effect blocks the next one, 5 to 86400."""

    stall_grace_seconds: Annotated[int, Field(ge=0, le=86400)] = 120
    """How long troubles that often pass by themselves stay Reconciling before they are Stalled, 0 to 86400."""

    release_budget: Annotated[int, Field(ge=0, le=10_000)] = 10
    """How many releases may happen within release_budget_seconds, 0 to 10000; 0 is no limit."""

    release_budget_seconds: Annotated[int, Field(ge=1, le=86400)] = 600
    """The time that the release budget is counted over, 1 to 86400."""

    workers: Annotated[int, Field(ge=1, le=50)] = 16
    """How many resources are worked on at once, 1 to 50."""

    call_timeout_seconds: Annotated[float, Field(gt=0, le=8)] = 5.0
    """Total deadline of a mutating call, more than 0 and at most 8."""

    grace_seconds: Annotated[int, Field(ge=1, le=600)] = 20
    """How long to wait at the end for passes that are under way, 1 to 600."""

    log_format: Literal["json", "plain"] = "json"
    """json or plain."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""

    @field_validator("endpoint")
    @classmethod
    def _is_an_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _is_origin(value):
            message = "must be http(s)://host[:port] without path, query or user"
            raise ValueError(message)
        return value.rstrip("/")

    # On the field and not on the whole: a check of the whole is skipped where a field is wrong, and reported later.
    @field_validator("allow_http")
    @classmethod
    def _http_is_wanted(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it
        endpoint = info.data.get("endpoint")
        if endpoint is not None and urlsplit(endpoint).scheme == "http" and not value:
            message = "the endpoint is plain http: use https, or set this to true for the simulator"
            raise ValueError(message)
        return value

    @field_validator("http_address")
    @classmethod
    def _is_a_port(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > PORT_MAX:
            message = f"the port must be 0 to {PORT_MAX}"
            raise ValueError(message)
        return value

    @property
    def policy(self) -> Policy:
        """The part that decisions depend on."""
        return Policy(
            settle=timedelta(seconds=self.settle_seconds),
            stall_grace=timedelta(seconds=self.stall_grace_seconds),
            resync=timedelta(seconds=self.resync_seconds),
            release_budget=self.release_budget,
            release_budget_window=timedelta(seconds=self.release_budget_seconds),
        )

    @property
    def http_host_and_port(self) -> tuple[str, int]:
        """``http_address`` in its two parts."""
        host, _, port = self.http_address.rpartition(":")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - probes and metrics are for the whole pod network

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then variables; no files."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings


class SettingsError(Exception):
    """The settings cannot be used; the message has one line per mistake and no values."""


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Read the settings; ``flags`` holds the values of the flags that were given.

    Raises:
        SettingsError: with every mistake.

    """
    mistakes = unknown_variables(environ)
    try:
        settings = Settings(**flags)
    except ValidationError as error:
        mistakes += [_explain(mistake) for mistake in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join(mistakes)) from None
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like a setting and is none."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return [
        f"{name}: there is no such setting; `tair-operator --help` lists all"
        for name in sorted(environ)
        if name.upper().startswith(PREFIX) and name.upper() not in known and not _INJECTED.search(name)
    ]


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_port and is_bare


def _explain(mistake: Mapping[str, Any]) -> str:
    name = "".join(str(part) for part in mistake["loc"][:1])
    where = f"{PREFIX}{name}".upper() if name else "settings"
    field = Settings.model_fields.get(name)
    description = " ".join((field.description or "").split()) if field else ""
    message = str(mistake["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" + (f" ({description})" if description else "")
