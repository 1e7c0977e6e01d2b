"""The registry, how a metric gets into it, and how it is told to whoever scrapes.

Each metric is declared once, and ``catalogue`` keeps what was declared: the
reference page is made of it, and a test compares it with a real scrape.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

OTHER = "Other"
"""The value of a label for all that a closed list does not name."""

# One more series for each counter and bucket, which nothing reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

registry = CollectorRegistry()


class Described(NamedTuple):
    """One metric, as it was declared."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


catalogue: list[Described] = []
"""All metrics, in the order of their declaration."""


class View(Collector):
    """A gauge that keeps nothing: its values are asked for at each scrape, one for each combination of labels."""

    def __init__(self, described: Described) -> None:
        """Show nothing until there is a source."""
        self._described = described
        self._source: Callable[[], Mapping[tuple[str, ...], float]] = dict

    def show(self, source: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Take the values from here from now on; the keys have one value for each label."""
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Tell the registry the name, without asking for values."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the values of this moment."""
        family = self._family()
        for labels, value in sorted(self._source().items()):
            family.add_metric(labels, value)
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._described.name, self._described.help, labels=self._described.labels)


def counter(name: str, text: str, *labels: str) -> Counter:
    """Declare a counter."""
    _describe(name, "counter", labels, text)
    return Counter(name, text, labels, registry=registry)


def gauge(name: str, text: str, *labels: str) -> Gauge:
    """Declare a gauge."""
    _describe(name, "gauge", labels, text)
    return Gauge(name, text, labels, registry=registry)


def histogram(name: str, text: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    """Declare a histogram; ``buckets`` are upper bounds in the unit that the name says."""
    _describe(name, "histogram", labels, text)
    return Histogram(name, text, labels, registry=registry, buckets=buckets)


def view(name: str, text: str, *labels: str) -> View:
    """Declare a gauge whose labels and values are asked for at each scrape."""
    declared = View(_describe(name, "gauge", labels, text))
    registry.register(declared)
    return declared


def expose(accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type: OpenMetrics where ``accept`` asks for it, else the text format."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _describe(name: str, kind: str, labels: tuple[str, ...], text: str) -> Described:
    described = Described(name, kind, labels, text)
    catalogue.append(described)
    return described
