"""The resource: what a user may write and what the operator reports.

These models are the single source of the CRD (``crd.py`` renders it), of the
parser that reads resources, and of the words that appear in ``kubectl explain``.
They hold no behaviour. Python names are snake_case, the wire is camelCase.
"""

from tair_operator.models.resource import Metadata, TairInstance
from tair_operator.models.spec import CredentialsSpec, EndpointSpec, PublishSpec, ReleaseSpec, TairInstanceSpec
from tair_operator.models.status import (
    BindingStatus,
    Condition,
    DirectConnectionStatus,
    DriftStatus,
    ErrorStatus,
    InstanceStatus,
    Operation,
    PlanStatus,
    PublishedStatus,
    ReachedStatus,
    TairInstanceStatus,
)
from tair_operator.models.terms import (
    ANNOTATION_APPROVE,
    ANNOTATION_RECONCILE,
    ANNOTATION_ROLE,
    FINALIZER,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    Action,
    ConnectionState,
    DriftPolicy,
    Outcome,
    Reason,
)

__all__ = [
    "ANNOTATION_APPROVE",
    "ANNOTATION_RECONCILE",
    "ANNOTATION_ROLE",
    "FINALIZER",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Action",
    "BindingStatus",
    "Condition",
    "ConnectionState",
    "CredentialsSpec",
    "DirectConnectionStatus",
    "DriftPolicy",
    "DriftStatus",
    "EndpointSpec",
    "ErrorStatus",
    "InstanceStatus",
    "Metadata",
    "Operation",
    "Outcome",
    "PlanStatus",
    "PublishSpec",
    "PublishedStatus",
    "ReachedStatus",
    "Reason",
    "ReleaseSpec",
    "TairInstance",
    "TairInstanceSpec",
    "TairInstanceStatus",
]
