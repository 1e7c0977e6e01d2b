"""What a user may write.

Nothing here names another namespace: what a resource refers to is beside it.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from tair_operator.models.terms import DriftPolicy
from tair_operator.models.wire import Model

_MINUTE = 60


def _not_zero_or_at_least_a_minute(seconds: int) -> int:
    if 0 < seconds < _MINUTE:
        msg = "use 0 (never), or 60 to 86400 seconds"
        raise ValueError(msg)
    return seconds


def _cel(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _immutable(field: str) -> dict[str, Any]:
    return _cel(("self == oldSelf", f"spec.{field} is immutable: create another TairInstance for another instance"))


class EndpointSpec(Model):
    """Address that the next allocation asks for. A live endpoint is never moved."""

    prefix: Annotated[str, Field(min_length=8, max_length=40, pattern=r"^[a-z][a-z0-9]{7,39}$")] | None = None
    """First label of the host name: 8 to 40 lower-case letters and digits, a letter first.
    The cloud picks one when absent."""

    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """TCP port, 1024 to 65535. The cloud's default is 6379."""


class ReleaseSpec(Model):
    """Guards that a release has to pass. An allocation never waits for them."""

    approval: Literal["Automatic", "Required"] | None = None
    """Required: the call waits until annotation tair.alibabacloud.com/approve-release equals status.plan.id. The
    stricter of this and the operator's settings wins."""

    window: Literal["Anytime", "Maintenance"] | None = None
    """Anytime, or Maintenance: the call waits for the instance's own maintenance window (UTC). A window that is not
    known counts as closed."""

    drain_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Seconds between withdrawing the published endpoint and the call, 0 to 3600."""


_OBJECT_NAME = Field(
    min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
)


class PublishSpec(Model):
    """Where the endpoint is published, in the namespace of this resource."""

    model_config = ConfigDict(
        json_schema_extra=_cel(
            ("has(self.secretName) || has(self.configMapName)", "set at least one of secretName, configMapName")
        )
    )

    secret_name: Annotated[str, _OBJECT_NAME] | None = None
    """Secret to write, by the Service Binding specification: type, provider, host, port and uri. One that exists
    already and is not this resource's own is left alone."""

    config_map_name: Annotated[str, _OBJECT_NAME] | None = None
    """ConfigMap to write: host, port and uri. One that exists already and is not this resource's own is left
    alone."""


class CredentialsSpec(Model):
    """Whose Alibaba Cloud credentials to use, instead of the operator's own. Exactly one field is set."""

    model_config = ConfigDict(
        json_schema_extra=_cel(
            (
                "has(self.secretName) != has(self.serviceAccountName)",
                "set exactly one of secretName, serviceAccountName",
            )
        )
    )

    secret_name: Annotated[str, _OBJECT_NAME] | None = None
    """Secret in the same namespace with accessKeyId, accessKeySecret and optionally securityToken, roleArn."""

    service_account_name: Annotated[str, _OBJECT_NAME] | None = None
    """ServiceAccount in the same namespace whose token is exchanged for a RAM role at STS."""


class TairInstanceSpec(Model):
    """What the instance's direct connection should be."""

    model_config = ConfigDict(
        json_schema_extra=_cel(
            (
                (
                    "!has(self.publish) || !has(self.publish.secretName) || !has(self.credentials) || "
                    "!has(self.credentials.secretName) || self.publish.secretName != self.credentials.secretName"
                ),
                "publish.secretName and credentials.secretName must be two different Secrets",
            )
        )
    )

    instance_id: Annotated[
        str,
        Field(
            min_length=3,
            max_length=64,
            pattern=r"^[a-z][a-z0-9]*-[a-z0-9]+$",
            json_schema_extra=_immutable("instanceId"),
            examples=["r-bp1zxszhcgatnx0001"],
        ),
    ]
    """Id of an existing Tair or Redis cluster instance, such as r-bp1zxszhcgatnx0001. Immutable."""

    region_id: Annotated[
        str,
        Field(
            min_length=4,
            max_length=40,
            pattern=r"^[a-z]+(-[a-z0-9]+)+$",
            json_schema_extra=_immutable("regionId"),
            examples=["cn-hangzhou"],
        ),
    ]
    """Region that the cloud reports for this instance, such as cn-hangzhou. Immutable."""

    direct_connection: bool | None = None
    """true: allocate the direct connection. false: release it, which cuts off every client that uses it.
    Absent: only observe; nothing is ever called. There is no default."""

    endpoint: EndpointSpec | None = None
    """Address that the next allocation asks for. A live endpoint that differs shows in condition EndpointMatches."""

    release: ReleaseSpec | None = None
    """Guards that a release has to pass."""

    publish: PublishSpec | None = None
    """Where the endpoint is published, in the namespace of this resource. Withdrawn before a release."""

    credentials: CredentialsSpec | None = None
    """Whose Alibaba Cloud credentials to use. The operator's own when absent; they serve only what its access list
    names."""

    deletion_policy: Literal["Retain", "Release"] | None = None
    """What happens to the direct connection when this resource is deleted. Retain (the behaviour when absent):
    nothing. Release: it is released first, through all guards of spec.release, and the deletion waits for that;
    changing it back to Retain lets the resource go."""

    drift_policy: DriftPolicy | None = None
    """What to do when somebody else changed the direct connection after the wanted value was reached.
    Correct: change it back. AllocateOnly (the behaviour when absent): allocate again, but only report what would
    have to be released. Report: change nothing."""

    resync_seconds: (
        Annotated[
            int,
            # Before the validator, or pydantic's JSON schema calls the bounds "ge" and "le".
            Field(
                ge=0,
                le=86400,
                json_schema_extra=_cel(("self == 0 || self >= 60", "use 0 (never), or 60 to 86400 seconds")),
            ),
            AfterValidator(_not_zero_or_at_least_a_minute),
        ]
        | None
    ) = None
    """How often to look for drift, in seconds: 0 (never) or 60 to 86400. The operator's setting when absent."""

    suspend: bool | None = None
    """true: look at nothing and call nothing until it is removed or false."""
