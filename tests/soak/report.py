"""The report of a soak: a page in Markdown, its plots, and every sample in a file beside them."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.figures import table
from benchmarks.plots import Series, line_chart
from tests.soak import judge
from tests.soak.run import Outcome, undisturbed
from tests.soak.samples import Sample, rates

POINTS: Final = 400
"""So many points of a line can be told apart."""
MARKED: Final = 60
"""With more restarts than this, marks would hide the lines."""
PAGE: Final = "soak.md"


def write(outcome: Outcome, folder: Path, *, command: str, machine: str) -> None:
    """Write the page, the plots and everything that was recorded into a folder."""
    for name, text in plots(outcome).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / PAGE).write_text(page(outcome, command=command, machine=machine), encoding="utf-8")
    (folder / "soak.json").write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")


def plots(outcome: Outcome) -> dict[str, str]:
    """Return the plots by file name."""
    samples = outcome.samples
    marks = [minute for minute, what in outcome.events if what.startswith(("process", "API"))][1:]

    def chart(title: str, label: str, series: Series) -> str:
        lines: Series = {name: thinned(points) for name, points in series.items()}
        return line_chart(title, "minutes", label, lines, marks if len(marks) <= MARKED else ())

    def line(value: Callable[[Sample], float]) -> list[tuple[float, float]]:
        return [(sample.minute, value(sample)) for sample in samples]

    return {
        "soak-memory.svg": chart(
            "Memory", "MB", {"resident": line(lambda s: s.rss_mb), "peak": line(lambda s: s.peak_mb)}
        ),
        "soak-files.svg": chart(
            "Open files and threads", "", {"files": line(lambda s: s.files), "threads": line(lambda s: s.threads)}
        ),
        "soak-tasks.svg": chart(
            "Tasks and queue", "", {"asyncio tasks": line(lambda s: s.tasks), "in the queue": line(lambda s: s.depth)}
        ),
        "soak-ready.svg": chart(
            "Resources", "", {"all": line(lambda s: s.resources), "Ready": line(lambda s: s.ready)}
        ),
        "soak-work.svg": chart(
            "Work",
            "per second",
            {
                "calls at the cloud": rates(samples, "cloud_calls"),
                "API writes": rates(samples, "api_writes"),
                "faults met": rates(samples, "faults"),
            },
        ),
        "soak-cpu.svg": chart("CPU", "cores", {"CPU": rates(samples, "cpu_seconds")}),
    }


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return as many points as can be told apart, each the median of its neighbours."""
    step = -(-len(points) // POINTS) or 1
    portions = [points[start : start + step] for start in range(0, len(points), step)]
    return [(portion[0][0], statistics.median(value for _, value in portion)) for portion in portions]


def page(outcome: Outcome, *, command: str, machine: str) -> str:
    """Return the page."""
    effort = outcome.effort
    passed = not outcome.problems
    began = datetime.fromtimestamp(outcome.began, UTC)
    return f"""# Soak: {effort.minutes:g} minutes, {effort.resources} resources

{"Everything held." if passed else f"**{len(outcome.problems)} violations**, see below."} `{command}` on {machine},
began {began:%Y-%m-%d %H:%M} UTC, seed {effort.seed}.

{effort.changes_per_second:.1f} changes and {effort.faults_per_second:.1f} faults a second. In the first and the last third one process
lives; in the second third the operator is killed, ended and stopped for moments, and the API server goes away. Then the faults end
and everything converges, within {outcome.converged_after:.0f} s ({effort.converge:.0f} s are allowed); then there were \
{effort.rest:.0f} s of rest.
Dashed lines in the plots: a process started, or the API server went away.

## Flat

Medians of the second and of the last quarter of each third; its first quarter is the warm-up.

{flatness(outcome)}

![Memory](soak-memory.svg)
![Open files and threads](soak-files.svg)
![Tasks and queue](soak-tasks.svg)

## What went on

![Resources](soak-ready.svg)
![Work](soak-work.svg)
![CPU](soak-cpu.svg)

{table(["what", "count"], [[name, f"{count:,}"] for name, count in outcome.counts.items()])}

{table(["process or API server", "how often"], [[name, str(count)] for name, count in disruptions(outcome).items()])}

Faults asked for: {", ".join(f"{name} {count}" for name, count in sorted(outcome.asked_faults.items()))}.

## What was judged

* In the end every resource is Ready and its instance as the manifest says; who was deleted with `Release` has left no endpoint.
* Every effective release falls into a time in which a manifest asked for it, {judge.CALL_SECONDS:g} s later at most; between two of them
  the endpoint was allocated again. Every mutating call was announced in a status, on a manifest that asked for it.
* Every version of every status keeps the rules of kstatus, and shows no RequestId that the cloud never gave, and no secret.
* No process ended by itself, each ended with 0 after SIGTERM; no exception and no secret is in the log.
* At rest nobody writes, and nothing is called that changes an instance.

## What it does not show

One process works at a time, without a Lease: `tests/cluster/test_failover.py` has two. What grows by less than the bounds in a third of
the time is not noticed, so a longer run shows more. The seed repeats what is done to the operator, not when the operator answers.
{violations(outcome)}"""


def flatness(outcome: Outcome) -> str:
    """Return what was measured in the two thirds, and what was allowed."""
    rows = []
    for part, measured in undisturbed(outcome).items():
        for name, bound in judge.BOUNDS.items():
            if len(measured[name]) >= judge.LEAST_SAMPLES:
                found = judge.growth(measured[name], bound)
                figures = [found.before, found.after, bound.limit(found.before), max(measured[name])]
                rows.append([part, f"{bound.name} {bound.unit}".strip(), *(f"{figure:.1f}" for figure in figures)])
    return table(["part", "what", "before", "after", "allowed", "most"], rows)


def disruptions(outcome: Outcome) -> dict[str, int]:
    """Return how often each thing befell the processes."""
    names = [what for _, what in outcome.events if not what.startswith("process")]
    return {name: names.count(name) for name in sorted(set(names))}


def violations(outcome: Outcome) -> str:
    """Return what was wrong, in words."""
    if not outcome.problems:
        return ""
    return "\n## Violations\n\n" + "\n".join(f"* {problem}" for problem in outcome.problems) + "\n"
