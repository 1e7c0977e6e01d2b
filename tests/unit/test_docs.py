"""What the documentation promises to list completely, it lists."""

import re
from pathlib import Path

import pytest

from docs.render import PAGES
from tair_operator.aliyun.errors import TABLE
from tair_operator.models import Reason
from tair_operator.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")


def test_the_reference_explains_every_reason_and_no_other() -> None:
    text = (ROOT / "docs/reference/conditions.md").read_text(encoding="utf-8")
    tables = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = {word for cell in tables for word in re.findall(r"`(\w+)`", cell)}

    assert listed - {"Ready", "Reconciling", "Stalled"} == set(Reason)


def test_every_link_between_our_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert pages
    assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs/reference" / name).read_text(encoding="utf-8") == PAGES[name](), "make docs"


def test_the_generated_pages_miss_nothing() -> None:
    settings, errors = PAGES["settings.md"](), PAGES["errors.md"]()

    assert [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in settings] == []
    assert [row.code for row in TABLE if f"`{row.code}`" not in errors] == []


def test_every_path_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    named = [path for path in re.findall(r"`([\w/*.]+(?:\.py|/))`", rows) if path.count("*") < 2]
    places = (ROOT, ROOT / "operator/tair_operator")

    assert len(named) > 8
    assert [path for path in named if not any(list(place.glob(path)) for place in places)] == []
