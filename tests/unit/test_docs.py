"""What the documentation promises to list completely, it lists."""

import re
from pathlib import Path

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


def test_the_reference_lists_every_setting_with_its_default_and_description() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells for line in text.splitlines() if len(cells := line.split("|")) == 5}

    for name, setting in Settings.model_fields.items():
        _, _, default, meaning, _ = rows[f"{PREFIX}{name.upper()}"]
        expected = "" if setting.default is None else str(setting.default)
        assert default.strip(" `").lower() == expected.lower()
        assert meaning.strip() == " ".join((setting.description or "").split())
