"""The corpus: one JSON file for each case that is worth keeping, with a line that says why."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.fuzz.target import Case

FOLDER: Final = Path(__file__).parent / "corpus"


def files() -> list[Path]:
    """Return every file, in the order of their names."""
    return sorted(FOLDER.glob("*/*.json"))


def read(file: Path) -> Case:
    """Return the case of a file."""
    case: Case = json.loads(file.read_text(encoding="utf-8"))["case"]
    return case


def keep(target: str, case: Case, why: str) -> Path:
    """Write a case down, under a name that depends on what it is."""
    text = json.dumps(case, sort_keys=True)
    file = FOLDER / target / f"found-{sha256(text.encode()).hexdigest()[:8]}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not sorted: the order of keys may be what matters.
    file.write_text(json.dumps({"why": why, "case": case}, indent=1) + "\n", encoding="utf-8")
    return file
