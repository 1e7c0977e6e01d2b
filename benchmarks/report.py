"""The tables of ``results.json``, for the terminal and for the page: what is measured is said once."""

from typing import Any

from benchmarks.figures import table

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
    rows = [
        [each["name"], spread(each["cpu_ms"], 2), spread(each["wall_ms"], 1), f"{each['cpu_ms']['median'] / least:.0f}"]
        for each in found
    ]
    return table(["client", "CPU ms per call", "wall ms per call", "times our CPU"], rows)


def single_changes(results: Results) -> str:
    """Return the table of changes that came one at a time."""
    rows = [
        [
            each["name"],
            f"{each['to_call_p50']:.1f}",
            f"{each['to_call_p99']:.1f}",
            f"{each['to_answer_p50']:.1f}",
            f"{each['to_end_p50']:.0f}",
            spread(each["single_cpu_ms"], 1),
        ]
        for each in results["changes"]
    ]
    head = ["operator", "to the call, p50 ms", "p99 ms", "to RequestId in status, p50 ms", "to the end, p50 ms"]
    return table([*head, "CPU ms per change"], rows)


def bursts(results: Results) -> str:
    """Return the table of changes that came all at once."""
    rows = [
        [
            each["name"],
            spread(each["burst_to_call_p50"], 2),
            spread(each["burst_called"], 1),
            spread(each["burst_done"], 1),
            spread(each["burst_cpu"], 2),
            spread(each["peak_rss_mb"], 0),
            spread(each["writes"], 2),
            spread(each["calls"], 2),
        ]
        for each in results["changes"]
    ]
    head = ["operator", "to the call, p50 s", "last call after s", "all done after s", "CPU s", "peak RSS MB"]
    return table([*head, "API writes per change", "releases per change"], rows)


def sizes(results: Results) -> str:
    """Return the table of fleets as they grow."""
    rows = [
        [
            each["name"],
            f"{each['resources']:,}",
            f"{each['start_seconds']:.0f}",
            f"{each['start_cpu']:.1f}",
            f"{each['start_rss']:.0f}",
            f"{each['start_writes'] / each['resources']:.2f}",
            f"{each['start_calls'] / each['resources']:.2f}",
            f"{each['rest_cpu_percent']:.1f}",
            f"{each['rest_writes']}",
        ]
        for each in results["sizes"]
    ]
    head = ["operator", "resources", "first start s", "CPU s", "peak RSS MB", "writes each", "calls each"]
    return table([*head, "CPU % at rest", "writes at rest"], rows)


def restarts(results: Results) -> str:
    """Return the table of restarts."""
    rows = [
        [
            each["name"],
            f"{each['resources']:,}",
            f"{each['restart_served']:.1f}",
            f"{each['restart_cpu']:.1f}",
            f"{each['restart_rss']:.0f}",
            f"{each['restart_writes']}",
            f"{each['restart_calls']}",
        ]
        for each in results["sizes"]
    ]
    head = ["operator", "resources", "change that waited is called after s", "CPU s", "peak RSS MB", "writes"]
    return table([*head, "calls"], rows)


def fairness(results: Results) -> str:
    """Return the table of what users felt behind the limiter."""
    found = results["fairness"]
    row = [
        f"{found['resources']:,}",
        f"{found['limit']}",
        f"{found['edits']}",
        f"{found['to_call_p50']:.2f}",
        f"{found['to_call_max']:.2f}",
        f"{found['calls_of_clock']}",
    ]
    head = [
        "resources due",
        "calls/s at most",
        "edits",
        "to the call, p50 s",
        "slowest s",
        "looks of the resync meanwhile",
    ]
    return table(head, [row])


TABLES = {
    "One signed call over TLS": signed_call,
    "One change at a time": single_changes,
    "All changes at once": bursts,
    "First start and rest": sizes,
    "Restart": restarts,
    "Fairness behind the limiter": fairness,
}


def spread(value: dict[str, float], digits: int) -> str:
    """Return the median, with the least and the greatest in parentheses."""
    median, least, greatest = (f"{value[name]:.{digits}f}" for name in ("median", "least", "greatest"))
    return median if value["count"] == 1 else f"{median} ({least}-{greatest})"
