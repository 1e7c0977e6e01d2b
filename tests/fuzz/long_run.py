"""The long run of one target: fresh cases until the time is over, or until one fails, which is made small and kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz import corpus
from tests.fuzz.target import Case, Target

ROUND = 200
"""How many cases share what hypothesis learns before it starts afresh."""


@dataclass
class Found:
    """What became of a run."""

    cases: int
    seconds: float
    failure: str | None = None


def run(target: Target, seconds: float, clock: Callable[[], float] = time.monotonic) -> Found:
    """Try cases for so many seconds. A case that fails is written to the corpus in its smallest form."""
    began, tried, last = clock(), 0, list[tuple[Case, str]]()

    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.target, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(target.cases)
    def attempt(case: Case) -> None:
        nonlocal tried
        if not last and clock() - began > seconds:
            return
        tried += 1
        try:
            target.check(case)
        except Exception as error:
            last.append((case, f"{type(error).__name__}: {error}"[:300]))
            raise

    while clock() - began <= seconds:
        try:
            attempt()
        except Exception:  # noqa: BLE001 - what it is was noted
            # The last one that hypothesis tried is the smallest one that fails.
            case, why = last[-1]
            file = corpus.keep(target.name, case, why)
            return Found(tried, clock() - began, f"{file.relative_to(corpus.FOLDER)}: {why}")
    return Found(tried, clock() - began)
