"""Each safety rule is broken on purpose, in one line of the real code, and the oracle has to notice.

The same plans pass with the code as it is, so it is the broken line that is found.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from tair_operator import plan
from tests.faults.broken_rules import BROKEN, Broken
from tests.faults.explore import Run, run
from tests.faults.faults import Plan
from tests.tracing import untraced


def break_it(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    """Put the broken function in the place of the right one, wherever it is used."""
    if broken.also is not None:
        break_it(monkeypatch, broken.also)
    if broken.function == "RULES":
        rules = tuple(rule for rule in plan.RULES if rule.__name__ != broken.old)
        assert len(rules) == len(plan.RULES) - 1
        monkeypatch.setattr(plan, "RULES", rules)
        return
    right = vars(broken.owner)[broken.function]
    function = right.fget if isinstance(right, property) else right
    assert callable(function)
    wrong = altered(function, broken.old, broken.new)
    monkeypatch.setattr(broken.owner, broken.function, property(wrong) if isinstance(right, property) else wrong)
    if right in plan.RULES:
        monkeypatch.setattr(plan, "RULES", tuple(wrong if rule is right else rule for rule in plan.RULES))
    if inspect.ismodule(broken.owner):
        for name, module in list(sys.modules.items()):
            if name.startswith("tair_operator") and vars(module).get(broken.function) is right:
                monkeypatch.setattr(module, broken.function, wrong)


def altered(function: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """Return a function as it would be with one place of its source changed."""
    source = textwrap.dedent(inspect.getsource(function)).removeprefix("@property\n")
    old = textwrap.dedent(old)
    assert old in source or old in textwrap.dedent(source), f"{function.__qualname__} has no {old!r} any more"
    names: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<broken {function.__qualname__}>", "exec"), function.__globals__, names)  # noqa: S102
    made: Callable[..., Any] = names[function.__name__]
    return made


def violations(broken: Broken, right: Run) -> list[str]:
    """Run the plan on a world that is different as this case wants it, and compare it with the right code there."""
    with untraced():
        return list(run(Plan.parse(broken.plan), expected=right, change=broken.change).violations)


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    broken = BROKEN[rule]
    parsed = Plan.parse(broken.plan)
    with untraced():
        right = run(parsed if broken.gives_up else Plan(parsed.scenario), expected=None, change=broken.change)
    before = violations(broken, right)
    break_it(monkeypatch, broken)
    found = violations(broken, right)

    assert before == []
    assert any(part in text for text in found for part in broken.finds.split("|")), found
