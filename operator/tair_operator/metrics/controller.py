"""What every controller tells, by the names and with the labels of controller-runtime and client-go.

Read at controller-runtime 0.2x and client-go 0.3x: ``pkg/internal/controller/metrics``,
``pkg/metrics/workqueue.go``, ``pkg/metrics/client_go_adapter.go``. The meaning is theirs as
well, also where one might expect another: a retry is every run that was asked for
with a delay, the next look of a resource that is fine included.
"""

from collections.abc import Callable, Collection
from enum import StrEnum

from tair_operator.metrics.exposition import counter, gauge, histogram

CONTROLLER = "tairinstance"
NO_ANSWER = "<error>"
"""What client-go writes in place of a status when there was no answer."""

_PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAIT_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 1800)
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Result(StrEnum):
    """What a pass ended with."""

    SUCCESS = "success"
    """Nothing to do until an event or the next LIST."""
    REQUEUE_AFTER = "requeue_after"
    """It said when to look again."""
    REQUEUE = "requeue"
    """It started from a view that was stale, so another one follows; nothing is wrong."""
    ERROR = "error"
    """Kubernetes did not answer, or a bug."""


# Of what is on the way of every pass, the one series is resolved here, once. So each exists from the start, with 0.
_reconciles = counter(
    "controller_runtime_reconcile_total",
    "Passes by what they ended with: success, requeue_after, requeue (the view was stale) or error.",
    "controller",
    "result",
)
_results = {result: _reconciles.labels(CONTROLLER, result) for result in Result}
_errors = counter(
    "controller_runtime_reconcile_errors_total",
    "Passes that ended with an error: Kubernetes did not answer, or a bug. "
    "A cloud that refuses or does not answer is none: the status tells of it.",
    "controller",
).labels(CONTROLLER)
_pass_seconds = histogram(
    "controller_runtime_reconcile_time_seconds",
    "Length of a pass, the time that it waits for the limiter included.",
    "controller",
    buckets=_PASS_BUCKETS,
).labels(CONTROLLER)
max_concurrent_reconciles = gauge(
    "controller_runtime_max_concurrent_reconciles", "Workers: how many passes run at the same time.", "controller"
).labels(CONTROLLER)
_active_workers = gauge("controller_runtime_active_workers", "Passes under way.", "controller").labels(CONTROLLER)

_QUEUE = ("name", "controller")
_queue_depth = gauge("workqueue_depth", "Resources that wait for a pass, delayed ones not counted.", *_QUEUE).labels(
    CONTROLLER, CONTROLLER
)
queue_adds = counter("workqueue_adds_total", "Resources that were put into the queue.", *_QUEUE).labels(
    CONTROLLER, CONTROLLER
)
queue_seconds = histogram(
    "workqueue_queue_duration_seconds", "Time in the queue until the pass began.", *_QUEUE, buckets=_WAIT_BUCKETS
).labels(CONTROLLER, CONTROLLER)
work_seconds = histogram(
    "workqueue_work_duration_seconds", "Time that working on one resource took.", *_QUEUE, buckets=_PASS_BUCKETS
).labels(CONTROLLER, CONTROLLER)
_unfinished_seconds = gauge(
    "workqueue_unfinished_work_seconds", "Age of all passes under way, summed up. It grows when one is stuck.", *_QUEUE
).labels(CONTROLLER, CONTROLLER)
_longest_seconds = gauge(
    "workqueue_longest_running_processor_seconds", "Age of the oldest pass under way.", *_QUEUE
).labels(CONTROLLER, CONTROLLER)
queue_retries = counter(
    "workqueue_retries_total",
    "Runs that were asked for with a delay: after a failure, for the next step, or for the next look.",
    *_QUEUE,
).labels(CONTROLLER, CONTROLLER)

_requests = counter(
    "rest_client_requests_total",
    "Requests of the operator to the API server; those of its watch of TairInstances are not counted. "
    "code is the HTTP status, or <error> without an answer.",
    "code",
    "method",
    "host",
)
_request_seconds = histogram(
    "rest_client_request_duration_seconds",
    "Length of a request to the API server until its answer was read; those that wait for a change are left out.",
    "verb",
    "host",
    buckets=_REQUEST_BUCKETS,
)

leader = gauge(
    "leader_election_master_status",
    "1 while this replica leads, 0 while it stands by. name is that of the Lease; absent without an election.",
    "name",
)


def count_pass(result: Result, seconds: float) -> None:
    """Count a pass that ended, and its length in seconds."""
    _results[result].inc()
    _pass_seconds.observe(seconds)
    if result is Result.ERROR:
        _errors.inc()


def count_request(method: str, host: str, status: int | None, seconds: float | None) -> None:
    """Count a request to the API server; no ``status`` without an answer, no ``seconds`` for one that waits."""
    _requests.labels(NO_ANSWER if status is None else str(status), method, host).inc()
    if seconds is not None:
        _request_seconds.labels(method, host).observe(seconds)


def show_queue(depth: Callable[[], int], runs: Callable[[], Collection[float]]) -> None:
    """Take the state of the queue from here: how many wait, and for how many seconds each pass under way has run."""
    _queue_depth.set_function(depth)
    _unfinished_seconds.set_function(lambda: sum(runs()))
    _longest_seconds.set_function(lambda: max(runs(), default=0.0))
    _active_workers.set_function(lambda: len(runs()))
