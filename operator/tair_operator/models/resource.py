"""The resource as a whole, and the part of its metadata that the operator reads."""

from datetime import datetime
from typing import Any

from pydantic import Field

from tair_operator.models.spec import TairInstanceSpec
from tair_operator.models.status import TairInstanceStatus
from tair_operator.models.wire import Model


class Metadata(Model):
    """The part of metav1.ObjectMeta that the operator reads."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    managed_fields: list[dict[str, Any]] = Field(default_factory=list)


class TairInstance(Model):
    """Keeps the direct connection of one Tair or Redis cluster instance as the manifest says."""

    metadata: Metadata
    spec: TairInstanceSpec
    status: TairInstanceStatus = Field(default_factory=TairInstanceStatus)
