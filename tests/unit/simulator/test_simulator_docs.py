"""What the reference of the simulator promises to list completely, it lists."""

import re
from itertools import chain
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import BaseModel

from tair_simulator.access_keys import AccessKey, Token
from tair_simulator.control import add_control_routes
from tair_simulator.directory import Ecs
from tair_simulator.errors import KNOWN
from tair_simulator.fault_kinds import KINDS
from tair_simulator.instances import Endpoint, Instance, MaintenanceWindow, Refusals, Timing
from tair_simulator.jitter import Flavour
from tair_simulator.oidc_providers import OidcProvider
from tair_simulator.operations import OPERATIONS
from tair_simulator.ram import Statement
from tair_simulator.roles import OidcTrust, Role, Trust
from tair_simulator.seed import Seed, parse_seed
from tair_simulator.sts import SIGNED, UNSIGNED
from tair_simulator.throttling import Throttling, UserLimit

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/simulator.md").read_text(encoding="utf-8")
# Each row of a table, as its cells; what comes first in a row is what the row is about.
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
LISTED = set(chain.from_iterable(re.findall(r"`([^`]+)`", cells[0]) for cells in ROWS))
COMMON_FIELDS = {"action", "count", "instanceId", "kind", "apply"}


def aliases(model: type[BaseModel]) -> set[str]:
    """Return the names that a person writes."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(
    "model",
    [
        AccessKey,
        Ecs,
        Endpoint,
        Instance,
        MaintenanceWindow,
        OidcProvider,
        OidcTrust,
        Refusals,
        Role,
        Statement,
        Throttling,
        Timing,
        Token,
        Trust,
        UserLimit,
    ],
)
def test_lists_every_field_of_a_seed(model: type[BaseModel]) -> None:
    assert aliases(model) - LISTED == set()


def test_shows_every_part_of_a_seed() -> None:
    assert {name for name in aliases(Seed) if f"\n{name}: " not in PAGE} == set()


def test_lists_every_operation() -> None:
    table = PAGE[PAGE.index("## Operations") : PAGE.index("### STS")]

    assert {name for name in (*OPERATIONS, *SIGNED, *UNSIGNED) if name not in table} == set()


def test_the_example_of_roles_can_be_read() -> None:
    block = re.search(r"```yaml\n(roles:\n.+?)```", PAGE, re.DOTALL)

    assert block
    assert parse_seed(block[1]).ecs.role == "orders"


def test_lists_every_kind_of_fault_with_its_fields_and_no_other() -> None:
    tables = PAGE[PAGE.index("## Faults") : PAGE.index("### Holds")].split("\n\n")
    rows = [line.split("|") for table in tables if table.startswith("| kind |") for line in table.splitlines()[2:]]
    listed = {cells[1].strip(" `"): cells[2] for cells in rows}

    assert set(listed) == set(KINDS)
    for kind, model in KINDS.items():
        missing = {
            field
            for field in aliases(model) - COMMON_FIELDS
            if f"`{field}`" not in listed[kind] and "as `error`" not in listed[kind]
        }
        assert missing == set(), kind


def test_lists_every_flavour_of_jitter() -> None:
    assert set(Flavour) - LISTED == set()


def test_lists_every_code_under_its_status_and_no_other() -> None:
    codes = PAGE[PAGE.index("### Codes") :]
    listed = {
        code: int(status)
        for status, names in re.findall(r"^\| (\d{3}) \| (.+) \|$", codes, re.MULTILINE)
        for code in re.findall(r"`([^`]+)`", names)
    }

    assert listed == {code: status for code, (status, _) in KNOWN.items()}


def test_lists_every_request_of_the_control_api() -> None:
    app = web.Application()
    add_control_routes(app)
    requests = {
        f"{route.method} {route.resource.canonical.removeprefix('/_simulator/')}"
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    }

    assert requests - LISTED == set()
