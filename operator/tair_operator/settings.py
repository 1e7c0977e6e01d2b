"""All settings of the operator, read once from flags and ``TAIR_OPERATOR_*`` variables, then frozen.

A mistake stops the start, and all of them are reported together, one line each,
without their values: a value may be a secret that went into the wrong variable.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tair_operator.scope import Scope, checked_namespaces, checked_selector, namespaces_of
from tair_operator.situation import Policy

PREFIX = "TAIR_OPERATOR_"
PORT_MAX = 65535
# kubelet injects these for a Service named tair-operator-something: they are nobody's mistake.
_INJECTED = re.compile(r"(_SERVICE_(HOST|PORT)(_.*)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")


_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?/*", re.ASCII | re.IGNORECASE)

METADATA_ENDPOINT = "http://100.100.100.200"
"""Where ECS instances find their metadata; there is no https."""

ROLE_ARN = r"^acs:ram::\d{1,32}:role/[A-Za-z0-9._/-]{1,128}$"
DNS_LABEL = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
PROVIDER_ARN = r"^acs:ram::\d{1,32}:oidc-provider/[A-Za-z0-9._-]{1,128}$"


class CredentialsSource(StrEnum):
    """Where the operator's own credentials come from."""

    ENVIRONMENT = "Environment"
    FILES = "Files"
    RRSA = "RRSA"
    ECS_RAM_ROLE = "ECSRAMRole"


class Settings(BaseSettings):
    """Settings of the operator; each is a flag and a variable of the same name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    watch_namespaces: Annotated[str, AfterValidator(checked_namespaces)] | None = None
    """Namespaces whose TairInstances are served, separated by commas; no permission beyond them is needed. The whole
    cluster when absent."""

    watch_label_selector: Annotated[str, AfterValidator(checked_selector)] | None = None
    """Label selector of the TairInstances that are served: one shard of several, each with a Lease of its own. All of
    them when absent."""

    access_file: Path | None = None
    """YAML file with the access list: which namespaces may use the operator's credentials for which instances.
    Read again when it changes. Without it nothing is permitted."""

    credentials_directory: Path | None = None
    """Directory with the files accessKeyId, accessKeySecret and optionally securityToken, as mounted from a Secret."""

    credentials_source: CredentialsSource | None = None
    """Where the operator's own credentials come from: Environment (ALIBABA_CLOUD_ACCESS_KEY_ID, _SECRET and
    ALIBABA_CLOUD_SECURITY_TOKEN), Files (credentials_directory), RRSA (the role of the pod, as ACK's pod identity
    webhook sets it up) or ECSRAMRole (the role of the node). When absent, Files if credentials_directory is set, else
    Environment. There is no fallback to another."""

    ecs_role_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    """Name of the RAM role of the node, for the source ECSRAMRole. The attached one when absent."""

    assume_role_arn: Annotated[str, Field(pattern=ROLE_ARN)] | None = None
    """ARN of a RAM role that the operator's own credentials are exchanged for, acs:ram::<account id>:role/<name>."""

    assume_role_external_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9+=,.@:/_-]{2,1224}$")] | None = None
    """External id that the trust policy of assume_role_arn asks for."""

    oidc_provider_arn: Annotated[str, Field(pattern=PROVIDER_ARN)] | None = None
    """ARN of the identity provider in RAM that trusts this cluster, acs:ram::<account id>:oidc-provider/<name>. Needed
    for spec.credentials.serviceAccountName. ALIBABA_CLOUD_OIDC_PROVIDER_ARN when absent."""

    role_session_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9.@_-]{2,32}$")] = "tair-operator"
    """Name of the sessions of assumed roles, as ActionTrail shows it, 2 to 32 characters; for the credentials of a
    resource, namespace and name follow."""

    role_session_seconds: Annotated[int, Field(ge=900, le=43200)] = 3600
    """How long the sessions of assumed roles last, 900 to 43200; no longer than each role permits. They are renewed."""

    endpoint: str | None = None
    """URL of another cloud endpoint, https://host[:port], for all regions. The regional ones when absent."""

    sts_endpoint: str | None = None
    """URL of another STS, https://host[:port]. When absent, https://sts.aliyuncs.com, or the one of sts_region."""

    ecs_metadata_endpoint: str = METADATA_ENDPOINT
    """URL of the metadata service of ECS, for the source ECSRAMRole."""

    allow_http: Annotated[bool, Field(validate_default=True)] = False
    """Permit a plain http endpoint. Only for the simulator: requests are signed, not encrypted."""

    vpc_endpoints: bool = False
    """Use the endpoints inside a VPC (r-kvstore-vpc.<region>.aliyuncs.com) instead of the public ones. STS has one per
    region only: see sts_region."""

    sts_region: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)] | None = Field(
        default=None, validate_default=True
    )
    """Region whose STS is used, sts.<region>.aliyuncs.com, or with vpc_endpoints sts-vpc.<region>.aliyuncs.com."""

    ca_file: Path | None = None
    """PEM file with the certificate authorities to trust for the cloud endpoint and STS, instead of the system's."""

    http_address: Annotated[str, Field(pattern=r"^.*:\d{1,5}$")] = "0.0.0.0:8080"
    """host:port for /livez, /readyz and /metrics."""

    resync_seconds: Annotated[int, Field(ge=60, le=86400)] = 600
    """How often to look for drift, 60 to 86400; spec.resyncSeconds overrides it."""

    calls_per_second: Annotated[float, Field(ge=1, le=100)] = 10.0
    """The most calls per second and region that are made with one set of credentials, 1 to 100. The operator begins
    with half of it, goes down when the cloud throttles, and up while it does not."""

    settle_seconds: Annotated[int, Field(ge=5, le=86400)] = 300
    """How long an operation without visible effect blocks the next one, 5 to 86400."""

    stall_grace_seconds: Annotated[int, Field(ge=0, le=86400)] = 120
    """How long troubles that often pass by themselves stay Reconciling before they are Stalled, 0 to 86400."""

    mode: Literal["Act", "Observe"] = "Act"
    """Act, or Observe: status.plan shows what would be called, and nothing is called. For a first install."""

    release_approval: Literal["Automatic", "Required"] = "Automatic"
    """Automatic, or Required: every release waits for an approval. spec.release.approval and the access list can only
    be stricter."""

    first_contact_release: Literal["Allow", "RequireApproval"] = "Allow"
    """Allow, or RequireApproval: where a TairInstance has not reached any wanted value yet, a release waits for an
    approval. One that was true once, and adopted what was there, has."""

    approval_ttl_seconds: Annotated[int, Field(ge=60, le=604_800)] = 86_400
    """How long a plan and its approval are good for, 60 to 604800."""

    release_window: Literal["Anytime", "Maintenance"] = "Anytime"
    """Anytime, or Maintenance: every release waits for the maintenance window of its instance."""

    release_drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """The least time between withdrawing a published endpoint and its release, 0 to 3600."""

    engine_versions: Annotated[str, Field(pattern=r"^\d+\.\d+(,\d+\.\d+)*$")] = "4.0,5.0"
    """Versions of Redis that can have a direct connection allocated, separated by commas."""

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

    leader_election: bool | None = None
    """true or false: whether replicas elect one leader, who alone works while the others stand by. true in a pod and
    false elsewhere, when absent."""

    lease_name: Annotated[str, Field(pattern=DNS_NAME, max_length=253)] = "tair-operator"
    """Name of the Lease that the replicas of one operator share."""

    lease_namespace: Annotated[str, Field(pattern=DNS_LABEL, max_length=63)] | None = None
    """Namespace of the Lease. That of the pod when absent; outside a pod it has to be set."""

    lease_seconds: Annotated[int, Field(ge=2, le=600)] = 15
    """How long a Lease that is not renewed keeps others from leading, 2 to 600."""

    lease_renew_deadline_seconds: Annotated[float, Field(gt=0)] = Field(default=10.0, validate_default=True)
    """How long the leader tries to renew its Lease before it ends, less than lease_seconds."""

    lease_retry_seconds: Annotated[float, Field(gt=0)] = Field(default=2.0, validate_default=True)
    """How often the leader renews and the others look, at most half of lease_renew_deadline_seconds.
    call_timeout_seconds has to be less than lease_seconds without two of these."""

    log_format: Literal["json", "plain"] = "json"
    """json or plain."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""

    @field_validator("endpoint", "sts_endpoint", "ecs_metadata_endpoint")
    @classmethod
    def _is_an_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _is_origin(value):
            message = "must be http(s)://host[:port] without path, query or user"
            raise ValueError(message)
        return value.rstrip("/")

    # On the fields and not on the whole: a check of the whole is skipped where a field is wrong, and reported later.
    # A field sees those above it, and of them only the ones without a mistake.
    @field_validator("credentials_source")
    @classmethod
    def _is_the_only_source(cls, value: CredentialsSource | None, info: ValidationInfo) -> CredentialsSource | None:
        if value is None or "credentials_directory" not in info.data:
            return value
        has_directory = info.data["credentials_directory"] is not None
        if value is CredentialsSource.FILES and not has_directory:
            message = f"Files needs {PREFIX}CREDENTIALS_DIRECTORY"
            raise ValueError(message)
        if value is not CredentialsSource.FILES and has_directory:
            message = f"{PREFIX}CREDENTIALS_DIRECTORY is set, which is for Files: unset one of the two"
            raise ValueError(message)
        return value

    @field_validator("ecs_role_name")
    @classmethod
    def _belongs_to_the_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        source = info.data.get("credentials_source", CredentialsSource.ECS_RAM_ROLE)
        if value is not None and source is not CredentialsSource.ECS_RAM_ROLE:
            message = f"set {PREFIX}CREDENTIALS_SOURCE to ECSRAMRole as well, or unset this"
            raise ValueError(message)
        return value

    @field_validator("assume_role_external_id")
    @classmethod
    def _belongs_to_a_role(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("assume_role_arn", "") is None:
            message = f"set {PREFIX}ASSUME_ROLE_ARN as well, or unset this"
            raise ValueError(message)
        return value

    @field_validator("sts_region")
    @classmethod
    def _is_where_sts_is(cls, value: str | None, info: ValidationInfo) -> str | None:
        known = info.data
        if value is not None and known.get("sts_endpoint") is not None:
            message = f"{PREFIX}STS_ENDPOINT is set as well: unset one of the two"
            raise ValueError(message)
        is_used = known.get("credentials_source") is CredentialsSource.RRSA or known.get("assume_role_arn") is not None
        if value is None and is_used and known.get("vpc_endpoints") and known.get("sts_endpoint", "") is None:
            message = f"needed with {PREFIX}VPC_ENDPOINTS: inside a VPC there is one STS per region"
            raise ValueError(message)
        return value

    @field_validator("allow_http")
    @classmethod
    def _http_is_wanted(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it
        names = {"endpoint": "endpoint", "sts_endpoint": "STS endpoint", "ecs_metadata_endpoint": "metadata endpoint"}
        plain = [
            f"the {text}"
            for name, text in names.items()
            if (url := info.data.get(name)) and url != METADATA_ENDPOINT and urlsplit(url).scheme == "http"
        ]
        if plain and not value:
            verb = "is" if len(plain) == 1 else "are"
            message = f"{' and '.join(plain)} {verb} plain http: use https, or set this to true for the simulator"
            raise ValueError(message)
        return value

    @field_validator("http_address")
    @classmethod
    def _is_a_port(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > PORT_MAX:
            message = f"the port must be 0 to {PORT_MAX}"
            raise ValueError(message)
        return value

    @field_validator("lease_renew_deadline_seconds")
    @classmethod
    def _ends_before_the_lease(cls, value: float, info: ValidationInfo) -> float:
        if value >= info.data.get("lease_seconds", float("inf")):
            message = f"must be less than {PREFIX}LEASE_SECONDS"
            raise ValueError(message)
        return value

    @field_validator("lease_retry_seconds")
    @classmethod
    def _leaves_time_for_a_call(cls, value: float, info: ValidationInfo) -> float:
        known = info.data
        if value * 2 > known.get("lease_renew_deadline_seconds", float("inf")):
            message = f"must be at most half of {PREFIX}LEASE_RENEW_DEADLINE_SECONDS"
            raise ValueError(message)
        # Or a call could outlast the Lease that it was sent under.
        if known.get("call_timeout_seconds", 0) >= known.get("lease_seconds", float("inf")) - 2 * value:
            message = f"{PREFIX}CALL_TIMEOUT_SECONDS must be less than {PREFIX}LEASE_SECONDS without two of these"
            raise ValueError(message)
        return value

    @property
    def own_source(self) -> CredentialsSource:
        """The source of the operator's own credentials."""
        if self.credentials_source is not None:
            return self.credentials_source
        return CredentialsSource.FILES if self.credentials_directory else CredentialsSource.ENVIRONMENT

    @property
    def scope(self) -> Scope:
        """Which TairInstances are served."""
        return Scope(namespaces_of(self.watch_namespaces) if self.watch_namespaces else (), self.watch_label_selector)

    @property
    def policy(self) -> Policy:
        """The part that decisions depend on."""
        return Policy(
            settle=timedelta(seconds=self.settle_seconds),
            stall_grace=timedelta(seconds=self.stall_grace_seconds),
            resync=timedelta(seconds=self.resync_seconds),
            release_budget=self.release_budget,
            release_budget_window=timedelta(seconds=self.release_budget_seconds),
            is_observing_only=self.mode == "Observe",
            needs_approval=self.release_approval == "Required",
            needs_approval_at_first_contact=self.first_contact_release == "RequireApproval",
            needs_window=self.release_window == "Maintenance",
            drain=timedelta(seconds=self.release_drain_seconds),
            approval_ttl=timedelta(seconds=self.approval_ttl_seconds),
            call_deadline=timedelta(seconds=self.call_timeout_seconds),
            engine_versions=frozenset(self.engine_versions.split(",")),
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
    # The form first: urlsplit drops line breaks, tabs and the space in front without a word.
    if _ORIGIN.fullmatch(url) is None:
        return False
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _explain(mistake: Mapping[str, Any]) -> str:
    name = "".join(str(part) for part in mistake["loc"][:1])
    where = f"{PREFIX}{name}".upper() if name else "settings"
    field = Settings.model_fields.get(name)
    description = " ".join((field.description or "").split()) if field else ""
    message = str(mistake["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" + (f" ({description})" if description else "")
