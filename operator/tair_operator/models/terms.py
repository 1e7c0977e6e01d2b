"""The closed sets of words that a resource is written in."""

from enum import StrEnum

GROUP = "tair.alibabacloud.com"
VERSION = "v1alpha1"
KIND = "TairInstance"
PLURAL = "tairinstances"

ANNOTATION_RECONCILE = f"{GROUP}/reconcile-requested-at"
ANNOTATION_APPROVE = f"{GROUP}/approve-release"
ANNOTATION_ROLE = f"{GROUP}/role-arn"
"""On a ServiceAccount: the RAM role that its tokens are exchanged for."""
FINALIZER = f"{GROUP}/release"


class Action(StrEnum):
    """A mutating call, by its name in the R-kvstore API 2015-01-01."""

    ALLOCATE = "AllocateDirectConnection"
    RELEASE = "ReleaseDirectConnection"


class ConnectionState(StrEnum):
    """What is known of the direct connection."""

    ALLOCATED = "Allocated"
    ALLOCATING = "Allocating"
    RELEASING = "Releasing"
    RELEASED = "Released"
    UNKNOWN = "Unknown"


class Outcome(StrEnum):
    """What became of a mutating call."""

    STARTED = "Started"
    NOT_SENT = "NotSent"
    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    UNKNOWN = "Unknown"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class DriftPolicy(StrEnum):
    """What to do when somebody else changed the instance after the wanted value was reached."""

    CORRECT = "Correct"
    ALLOCATE_ONLY = "AllocateOnly"
    REPORT = "Report"


class Reason(StrEnum):
    """Every reason that a condition can carry. Closed: alerts and scripts may rely on it."""

    ALLOCATED = "Allocated"
    RELEASED = "Released"
    OBSERVED = "Observed"

    PENDING = "Pending"
    ALLOCATING = "Allocating"
    RELEASING = "Releasing"
    INSTANCE_BUSY = "InstanceBusy"
    THROTTLED = "Throttled"
    CLOUD_UNREACHABLE = "CloudUnreachable"
    OUTCOME_UNKNOWN = "OutcomeUnknown"
    WAITING_FOR_WINDOW = "WaitingForWindow"
    DRAINING = "Draining"
    RELEASE_BUDGET = "ReleaseBudget"
    RELEASES_HELD = "ReleasesHeld"
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"

    APPROVAL_REQUIRED = "ApprovalRequired"
    ACCESS_NOT_ALLOWED = "AccessNotAllowed"
    ACCESS_DENIED = "AccessDenied"
    CREDENTIALS_INVALID = "CredentialsInvalid"
    INSTANCE_NOT_FOUND = "InstanceNotFound"
    INSTANCE_NOT_ELIGIBLE = "InstanceNotEligible"
    INVALID_REQUEST = "InvalidRequest"
    INSTANCE_ALREADY_MANAGED = "InstanceAlreadyManaged"
    DRIFT_DETECTED = "DriftDetected"
    CONTESTED = "Contested"
    PUBLISH_FAILED = "PublishFailed"

    ENDPOINT_MATCHES = "EndpointMatches"
    ENDPOINT_DIFFERS = "EndpointDiffers"

    SUSPENDED = "Suspended"
