"""What a fuzz target is: cases that a strategy makes up, and a check that every one of them has to pass.

A case is a JSON object, so whatever was found is kept as a file that a person can
read and change, and that does not depend on how the strategy draws. Bytes are
written as text in Latin-1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

Case = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """``check`` raises where a case shows a mistake; ``examples`` is how many are tried in ``make test``."""

    name: str
    cases: SearchStrategy[Case]
    check: Callable[[Case], None]
    examples: int
