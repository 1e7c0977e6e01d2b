"""``python -m benchmarks.page``: renders ``results.json`` into docs/explanation/performance.md and its plots."""

import json
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.plots import Series, line_chart
from benchmarks.report import Results

RESULTS = Path(__file__).parent / "results.json"
FOLDER = Path(__file__).parent.parent / "docs" / "explanation"
PAGE = FOLDER / "performance.md"


def main() -> int:
    """Replace what stands between the markers, and the plots."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    for name, text in plots(results).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def render(page: str, results: Results) -> str:
    """Return the page with every table of these results between its markers."""
    blocks = {"environment": report.environment(results)}
    blocks |= {show.__name__.replace("_", "-"): show(results) for show in report.TABLES.values()}
    for name, text in blocks.items():
        head, tail = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(head)
        _, found_end, after = rest.partition(tail)
        assert found, f"the page has no place for {name}"
        assert found_end, f"the place for {name} has no end"
        page = f"{before}{head}{text}\n{tail}{after}"
    return page


def plots(results: Results) -> dict[str, str]:
    """Return the plots by file name."""
    names = list(dict.fromkeys(each["name"] for each in results["sizes"]))

    def growth(title: str, label: str, field: str) -> str:
        lines: Series = {
            name: [(each["resources"], each[field]) for each in results["sizes"] if each["name"] == name]
            for name in names
        }
        return line_chart(title, "resources", label, lines)

    found = results["fairness"]
    calls = list(enumerate(found["calls_per_second"]))
    title = f"Cloud calls after {found['resources']:,} resources became due at once, {found['edits']} edits on top"
    return {
        "performance-start-cpu.svg": growth("CPU time of the first start", "seconds", "start_cpu"),
        "performance-start-memory.svg": growth("Peak memory of the first start", "MB resident", "start_rss"),
        "performance-restart-cpu.svg": growth("CPU time in the 15 s after a restart", "seconds", "restart_cpu"),
        "performance-calls.svg": line_chart(title, "seconds", "calls per second", {"calls": calls}),
    }


if __name__ == "__main__":
    sys.exit(main())
