"""Reads the operator's metrics in tests: values of now, and what they have gained since a moment.

The registry is one for the process, and other tests count too, so a test compares two readings.
"""

from prometheus_client.parser import text_string_to_metric_families as parse

from tair_operator import metrics


def value(name: str, /, **labels: str) -> float:
    """Return the value of one series; 0 while there is none."""
    return next(
        (
            sample.value
            for family in metrics.registry.restricted_registry([name]).collect()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ),
        0.0,
    )


def series(name: str) -> dict[tuple[str, ...], float]:
    """Return every series of a metric, by the values of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.registry.restricted_registry([name]).collect()
        for sample in family.samples
        if sample.name == name
    }


class Meter:
    """What every series of a metric has gained since the meter was made."""

    def __init__(self, name: str) -> None:
        """Begin to measure."""
        self.name = name
        self._before = series(name)

    def gained(self) -> dict[tuple[str, ...], float]:
        """Return the series that have gained something, to the microsecond: sums of seconds are floating point."""
        gains = {labels: round(now - self._before.get(labels, 0.0), 6) for labels, now in series(self.name).items()}
        return {labels: gain for labels, gain in gains.items() if gain}


def told(text: str, name: str, /, **labels: str) -> float:
    """Return the sum of the series of a scrape that have these labels, whatever else they have."""
    return sum(
        sample.value
        for family in parse(text)
        for sample in family.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    )
