"""What only this operator can tell: calls of the cloud, changes, drift, the state of the resources and its own."""

import platform
from importlib.metadata import version

from tair_operator.metrics.exposition import counter, gauge, histogram, view
from tair_operator.models import Action, Operation, Outcome

_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CHANGE_BUCKETS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
ENDS = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.REJECTED, Outcome.NOT_SENT)
"""The outcomes after which nothing more becomes of a call."""

gauge("tair_operator_build_info", "1; the labels say what is running.", "version", "python_version").labels(
    version("tair-operator"), platform.python_version()
).set(1)

cloud_requests = counter(
    "tair_operator_cloud_requests_total",
    "Requests to the cloud, STS and the metadata service of ECS included. code is OK, a row of the table of error "
    "codes, or Other. outcome is answered; rejected: an error that certainly had no effect; unknown: no usable answer, "
    "or an error that may have had an effect; not_sent: not one byte left.",
    "action",
    "code",
    "outcome",
)
cloud_request_seconds = histogram(
    "tair_operator_cloud_request_duration_seconds",
    "Length of a request to the cloud that was sent, until its answer was read or given up.",
    "action",
    buckets=_CALL_BUCKETS,
)

_changes = counter(
    "tair_operator_direct_connection_changes_total",
    "Calls that change a direct connection, when they end: Succeeded (seen, not just accepted), Failed (without an "
    "effect in the settling time), Rejected or NotSent.",
    "action",
    "outcome",
)
_change_seconds = histogram(
    "tair_operator_direct_connection_change_duration_seconds",
    "Time from the intent to the observed end, of the calls that succeeded.",
    "action",
    buckets=_CHANGE_BUCKETS,
)
_unknown_outcomes = counter(
    "tair_operator_unknown_outcomes_total",
    "Mutating calls whose answer is missing or does not say whether they had an effect.",
    "action",
)
drift_detected = counter(
    "tair_operator_drift_detected_total",
    "Differences that somebody else made after the wanted value had been reached, when they are first seen.",
)
drifted_resources = gauge("tair_operator_drifted_resources", "Resources whose instance differs so at present.")

resources = view(
    "tair_operator_resources",
    "TairInstances that the leader serves, by status.directConnection.state and by status and reason of Ready.",
    "state",
    "ready",
    "reason",
)
oldest_unready = gauge(
    "tair_operator_oldest_unready_seconds",
    "For how long the slowest of the resources that should get ready by themselves has not; 0 without one. Not counted "
    "are those that are Stalled or Suspended, or wait for a window, drain, budget or brake, or in mode Observe.",
)

limiter_rate = view(
    "tair_operator_limiter_rate",
    "Calls per second that the limiter permits now, the least over all credentials; regions that are used only.",
    "region",
)
limiter_waiting = view("tair_operator_limiter_waiting", "Calls that wait for the limiter.", "region")
credentials_expiry = gauge(
    "tair_operator_credentials_expiry_timestamp_seconds",
    "When the first of all temporary credentials in use expires, in seconds since 1970; 0 without any.",
)
resync_floor = gauge(
    "tair_operator_resync_floor_seconds",
    "The least interval between two looks for drift at one resource, as the number of resources and the limiter ask.",
)
last_list = gauge(
    "tair_operator_last_list_timestamp_seconds",
    "When all TairInstances were last listed completely, in seconds since 1970; 0 before, and while standing by.",
)
event_loop_lag = gauge(
    "tair_operator_event_loop_lag_seconds", "The longest delay of the event loop in the last minute."
)
event_loop_tasks = gauge(
    "tair_operator_event_loop_tasks",
    "Tasks of the event loop that have not ended. It follows the work; one that only grows is a leak.",
)
releases_held = gauge("tair_operator_releases_held", "1 while the access list says releases: Hold.")
access_list_valid = gauge(
    "tair_operator_access_list_valid",
    "0 while the file of the access list is bad or not there, and the last good list stays in force.",
)

# Each exists from the start, with 0: a counter that begins with 1 has no increase.
for _action in Action:
    _unknown_outcomes.labels(_action)
    _change_seconds.labels(_action)
    for _outcome in ENDS:
        _changes.labels(_action, _outcome)


def count_outcome(operation: Operation) -> None:
    """Count what has become of a call; it has to be told once. Nothing is counted while it is under way."""
    if operation.outcome is Outcome.UNKNOWN:
        _unknown_outcomes.labels(operation.action).inc()
    if operation.outcome in ENDS:
        _changes.labels(operation.action, operation.outcome).inc()
    if operation.outcome is Outcome.SUCCEEDED and operation.finished_at is not None:
        took = operation.finished_at - operation.started_at
        _change_seconds.labels(operation.action).observe(max(took.total_seconds(), 0.0))
