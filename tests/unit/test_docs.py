"""What the documentation promises to list completely, it lists; and what it names, there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.render import PAGES, WHEN_ABSENT
from tair_operator import guards, plan
from tair_operator.aliyun.errors import TABLE
from tair_operator.models import GROUP, Reason
from tair_operator.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGE_FILES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")
ANCHOR = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)")
OPERATOR = ROOT / "operator" / "tair_operator"


def test_the_reference_explains_every_reason_and_no_other() -> None:
    text = (ROOT / "docs/reference/conditions.md").read_text(encoding="utf-8")
    tables = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = {word for cell in tables for word in re.findall(r"`(\w+)`", cell)}

    assert listed - {"Ready", "Reconciling", "Stalled"} == set(Reason)


def test_every_link_between_our_pages_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGE_FILES
        for target in LINK.findall(prose(page))
        if not (page.parent / target).exists()
    ]

    assert PAGE_FILES
    assert broken == []


def test_every_link_to_a_heading_finds_it() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}#{anchor}"
        for page in PAGE_FILES
        for target, anchor in ANCHOR.findall(prose(page))
        if anchor not in anchors(page.parent / target if target else page)
    ]

    assert broken == []


def prose(page: Path) -> str:
    """Return a page without inline code, in which a pattern may look like a link."""
    return re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("*/*.md")]

    assert [page for page in pages if f"({page})" not in index] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs/reference" / name).read_text(encoding="utf-8") == PAGES[name](), "make docs"


def test_the_generated_pages_miss_nothing() -> None:
    settings, errors = PAGES["settings.md"](), PAGES["errors.md"]()

    assert [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in settings] == []
    assert [row.code for row in TABLE if f"`{row.code}`" not in errors] == []


def crd_schema() -> dict[str, Any]:
    manifest = yaml.safe_load((ROOT / "crds/tairinstances.yaml").read_text(encoding="utf-8"))
    schema: dict[str, Any] = manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return schema


def fields(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every field, that of a list with brackets where its items have fields."""
    inner = schema.get("items", {})
    if "properties" in inner:
        yield from fields(f"{path}[]", inner)
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from fields(f"{path}.{name}", field)


def test_the_reference_has_every_field_of_the_crd() -> None:
    text = (ROOT / "docs/reference/fields.md").read_text(encoding="utf-8")
    paths = [*fields("spec", crd_schema()["spec"]), *fields("status", crd_schema()["status"])]
    # An operation of the past has the fields of the last one, which the page says in the heading of both.
    told = [path.replace("status.history[]", "status.operation") for path in paths]

    assert len(paths) > 80
    assert [path for path in told if f"| `{path}` |" not in text] == []
    assert "`status.operation`, `status.history[]`" in text


def test_the_reference_says_what_happens_without_each_field() -> None:
    assert set(WHEN_ABSENT) == set(fields("spec", crd_schema()["spec"]))


def test_the_reference_has_every_name_that_the_operator_puts_on_objects_or_reads_there() -> None:
    text = (ROOT / "docs/reference/fields.md").read_text(encoding="utf-8")
    sources = "\n".join(file.read_text(encoding="utf-8") for file in OPERATOR.rglob("*.py"))
    # kopf is made to keep nothing anywhere, and wants a name for that.
    names = {"kopf-unused"} ^ set(re.findall(rf"(?:\{{GROUP\}}|{re.escape(GROUP)})/([a-z]+(?:-[a-z]+)*)\b", sources))

    assert len(names) >= 5
    assert [name for name in names if f"`{GROUP}/{name}`" not in text] == []


def test_every_field_that_a_page_names_exists() -> None:
    known = {path.replace("[]", "") for kind in ("spec", "status") for path in fields(kind, crd_schema()[kind])}
    unknown = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in PAGE_FILES
        for path in re.findall(r"`\.?((?:spec|status)(?:\.[a-zA-Z]+)+)(?=[`:\[ ])", page.read_text(encoding="utf-8"))
        if path not in known and not path.endswith(".py")
    ]

    assert unknown == []


def test_every_setting_that_a_page_names_exists() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in PAGE_FILES
        for name in re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))
        if name not in known
    ]

    assert unknown == []


def test_the_tests_that_show_what_is_done_about_the_unknown_exist() -> None:
    text = (ROOT / "docs/explanation/unknowns.md").read_text(encoding="utf-8")
    shown = [line.split(" | ")[-1] for line in text.splitlines() if line.startswith("| ")]
    rows = [cell for cell in shown if cell not in {"shown by |", "--- |"}]
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    functions = [name for cell in rows for name in re.findall(r"`(test_\w+)`", cell)]
    sentences = [name for cell in rows for name in re.findall(r'"([^"]+)"', cell)]

    assert [cell for cell in rows if not re.search(r'`test_\w+`|"[^"]+"', cell)] == []
    assert [name for name in functions if f"def {name}(" not in tests] == []
    assert [sentence for sentence in sentences if f'"{sentence}": ' not in tests] == []


def test_the_guide_to_the_guards_has_them_in_their_order() -> None:
    text = (ROOT / "docs/how-to/guard-releases.md").read_text(encoding="utf-8")
    reasons = re.findall(r"^\| \d \|.*\| `(\w+)` \|$", text, re.MULTILINE)
    rules = [
        (plan.acting_not_allowed, Reason.ACCESS_NOT_ALLOWED),
        (guards.only_planned, Reason.PENDING),
        (guards.releases_held, Reason.RELEASES_HELD),
        (guards.release_budget_spent, Reason.RELEASE_BUDGET),
        (guards.approval_required, Reason.APPROVAL_REQUIRED),
        (guards.window_closed, Reason.WAITING_FOR_WINDOW),
        (guards.draining, Reason.DRAINING),
    ]

    assert reasons == [reason for _, reason in rules]
    assert sorted(rules, key=lambda rule: plan.RULES.index(rule[0])) == rules


def test_the_way_of_a_change_passes_every_module() -> None:
    text = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    modules = {path.stem for path in OPERATOR.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert [module for module in modules - {"__init__"} if not re.search(rf"`{module}/?`", text)] == []


def test_every_path_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    named = [path for path in re.findall(r"`([\w/*.]+(?:\.py|/))`", rows) if path.count("*") < 2]
    places = (ROOT, ROOT / "operator/tair_operator")

    assert len(named) > 8
    assert [path for path in named if not any(list(place.glob(path)) for place in places)] == []
