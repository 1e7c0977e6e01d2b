"""The operator's metrics, by the names that controller-runtime made known.

Dashboards written for Go operators read them as they are. No request id,
instance id or resource name is ever a label.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTROLLER = "tairinstance"

registry = CollectorRegistry()

reconciles = Counter(
    "controller_runtime_reconcile_total",
    "Passes by result: success, requeue_after or error",
    ["controller", "result"],
    registry=registry,
)
reconcile_seconds = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Length of a pass in seconds",
    ["controller"],
    registry=registry,
)
queue_depth = Gauge(
    "workqueue_depth", "Resources that wait for a pass, delayed ones not counted", ["name"], registry=registry
)

leader = Gauge(
    "leader_election_master_status",
    "1 while this replica leads, 0 while it stands by; name is that of the Lease",
    ["name"],
    registry=registry,
)
resync_floor = Gauge(
    "tair_operator_resync_floor_seconds",
    "The least interval between two looks for drift at one resource, as the number of resources and the limiter ask",
    registry=registry,
)


credentials_expiry = Gauge(
    "tair_operator_credentials_expiry_timestamp_seconds",
    "When the first of all temporary credentials in use expires, in seconds since 1970; 0 without any",
    registry=registry,
)


def record_pass(result: str, seconds: float, depth: int) -> None:
    """Count a pass, and note how many wait after it."""
    reconciles.labels(CONTROLLER, result).inc()
    reconcile_seconds.labels(CONTROLLER).observe(seconds)
    queue_depth.labels(CONTROLLER).set(depth)


def render() -> bytes:
    """Return all metrics in the Prometheus text format."""
    return generate_latest(registry)
