"""YAML as people and machines get it wrong: tags that do not fit, anchors, doubled keys, and what looks like it."""

import re

import yaml
from hypothesis import strategies as st

from tests.fuzz.text import mutated, odd_texts

_ODD = [
    '!!int ""', "!!int x",
    '!!float ""', "!!bool x", "!!timestamp x", "!!binary x", "!!set x", "!!map x", "!!map [a, b]",
    "!!omap [a]", "!!pairs {a: b}", "!!python/object:os.system x", "!odd x", "&a [*a]", "*b", "<<: x", "{<<: [x]}",
    "{<<: {a: 1}, <<: {a: 2}}", "{[1]: 2}", "? {a: b}", "{a: 1, a: 2}", "2001-02-30", "2001-01-01 00:00:00 +99:99",
    "1:" * 200 + "1.0", "1:" * 400 + "1", "9" * 5000, "0x_", "0b_", "._", "-._", "[" * 2000, "{a: " * 2000, "- " * 2000,
    '"\\ud800"', '"\\U00110000"', "\t", "---\na\n---\nb", "%YAML 9.9\n---\n", "\x07", "\ufeff",
    "@", "`", "a: b: c", "...",
    "!!str 1", "~", "null", "on", "0o7", "1e5", ".inf", ".nan", "=", "!!null x", "!!seq x", "!!str [a]", "!!int [a]",
]  # fmt: skip


def yaml_texts(sample: str) -> st.SearchStrategy[str]:
    """Return texts that resemble a sample, more or less."""
    odd = st.sampled_from(_ODD) | odd_texts
    scalars = [(found.start(1), found.end(1)) for found in re.finditer(r"[:,\[-] *([^\s\[\]{},:]+)", sample)]

    def replaced(place: tuple[int, int], text: str) -> str:
        return sample[: place[0]] + text + sample[place[1] :]

    plain = yaml.safe_load(sample)
    return st.one_of(
        st.builds(replaced, st.sampled_from(scalars), odd),
        mutated(plain).map(lambda value: yaml.dump(value, sort_keys=False)),
        st.builds(lambda at, text: sample[:at] + text + sample[at:], st.integers(0, len(sample)), odd),
        st.integers(0, len(sample)).map(lambda end: sample[:end]),
        odd,
        st.lists(st.sampled_from([*sample.splitlines(), *_ODD]), max_size=8).map("\n".join),
    )
