"""The tables of ``results.json``, for the terminal and for the page: what is measured is said once."""

from typing import Any

from benchmarks.figures import Spread, table

Results = dict[str, Any]


def environment(results: Results) -> str:
    """Return when, where and with what it was measured, and how to do it again."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    minutes = f"{results['seconds'] / 60:.0f} minutes"
    return f"`{results['command']}`, {results['time']}, {minutes}. {results['machine']}. {versions}."


def signed_call(results: Results) -> str:
    """Return the table of one signed call."""
    found = results["signed_call"]
    least = found[0]["cpu_ms"]["median"]
    rows = [each | {"times": each["cpu_ms"]["median"] / least} for each in found]
    columns = {
        "client": "{name}",
        "CPU ms per call": "{cpu_ms:.2f}",
        "wall ms per call": "{wall_ms:.1f}",
        "times our CPU": "{times:.0f}",
    }
    return _table(rows, columns)


def single_changes(results: Results) -> str:
    """Return the table of changes that came one at a time."""
    columns = {
        "operator": "{name}",
        "to the call, p50 ms": "{to_call_p50:.1f}",
        "p99 ms": "{to_call_p99:.1f}",
        "to RequestId in status, p50 ms": "{to_answer_p50:.1f}",
        "to the end, p50 ms": "{to_end_p50:.0f}",
        "CPU ms per change": "{single_cpu_ms:.1f}",
    }
    return _table(results["changes"], columns)


def bursts(results: Results) -> str:
    """Return the table of changes that came all at once."""
    columns = {
        "operator": "{name}",
        "to the call, p50 s": "{burst_to_call_p50:.2f}",
        "last call after s": "{burst_called:.1f}",
        "all done after s": "{burst_done:.1f}",
        "CPU s": "{burst_cpu:.2f}",
        "peak RSS MB": "{peak_rss_mb:.0f}",
        "API writes per change": "{writes:.2f}",
        "releases per change": "{calls:.2f}",
    }
    return _table(results["changes"], columns)


def sizes(results: Results) -> str:
    """Return the table of fleets as they grow."""
    rows = [
        each | {f"{what}_each": each[f"start_{what}"] / each["resources"] for what in ("writes", "calls")}
        for each in results["sizes"]
    ]
    columns = {
        "operator": "{name}",
        "resources": "{resources:,}",
        "first start s": "{start_seconds:.0f}",
        "CPU s": "{start_cpu:.1f}",
        "peak RSS MB": "{start_rss:.0f}",
        "writes each": "{writes_each:.2f}",
        "calls each": "{calls_each:.2f}",
        "CPU % at rest": "{rest_cpu_percent:.1f}",
        "writes at rest": "{rest_writes}",
    }
    return _table(rows, columns)


def restarts(results: Results) -> str:
    """Return the table of restarts."""
    columns = {
        "operator": "{name}",
        "resources": "{resources:,}",
        "change that waited is called after s": "{restart_served:.1f}",
        "CPU s": "{restart_cpu:.1f}",
        "peak RSS MB": "{restart_rss:.0f}",
        "writes": "{restart_writes}",
        "calls": "{restart_calls}",
    }
    return _table(results["sizes"], columns)


def fairness(results: Results) -> str:
    """Return the table of what users felt behind the limiter."""
    columns = {
        "resources due": "{resources:,}",
        "calls/s at most": "{limit}",
        "edits": "{edits}",
        "to the call, p50 s": "{to_call_p50:.2f}",
        "slowest s": "{to_call_max:.2f}",
        "looks of the resync meanwhile": "{calls_of_clock}",
    }
    return _table([results["fairness"]], columns)


TABLES = {
    "One signed call over TLS": signed_call,
    "One change at a time": single_changes,
    "All changes at once": bursts,
    "First start and rest": sizes,
    "Restart": restarts,
    "Fairness behind the limiter": fairness,
}


def _table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Return a table whose columns each show a format of the fields of a row."""
    shown = [{key: _Spread(value) if isinstance(value, dict) else value for key, value in row.items()} for row in rows]
    return table(list(columns), [[text.format(**row) for text in columns.values()] for row in shown])


class _Spread(dict[str, float]):
    """A spread as it is in the file: shown as its median, with the least and the greatest where there are several."""

    def __format__(self, spec: str) -> str:
        return format(self["median"], spec) if self["count"] == 1 else format(Spread(**self), spec)  # type: ignore[arg-type]
