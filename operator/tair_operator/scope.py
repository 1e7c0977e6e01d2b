"""Which TairInstances an operator serves: those of some namespaces or of all, and of these one shard or all.

The selector goes to the API server as it is, so what matches is decided there. It
is only checked here, because a wrong one should stop the start and not the watch.
"""

import re
from dataclasses import dataclass

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_SUBDOMAIN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_KEY = rf"(?:(?=[^/]{{1,253}}/){_SUBDOMAIN}/)?{_NAME}"
_VALUE = rf"(?:{_NAME})?"
_SET = rf"\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\)"
# The grammar of k8s.io/apimachinery/pkg/labels without its comparisons by number, which no label of a shard needs.
_REQUIREMENT = rf"\s*(?:!\s*{_KEY}|{_KEY}|{_KEY}\s*(?:==?|!=)\s*{_VALUE}|{_KEY}\s+(?:in|notin)\s*{_SET})\s*"
_SELECTOR = re.compile(rf"{_REQUIREMENT}(?:,{_REQUIREMENT})*", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """``namespaces`` is empty where all are served; ``selector`` is None where whatever is in them is."""

    namespaces: tuple[str, ...] = ()
    selector: str | None = None

    @property
    def is_shard(self) -> bool:
        """Whether other operators serve the rest of these namespaces."""
        return self.selector is not None

    def __str__(self) -> str:
        which = f"TairInstances with {self.selector}" if self.is_shard else "every TairInstance"
        where = f"namespaces {', '.join(self.namespaces)}" if self.namespaces else "all namespaces"
        return f"{which} in {where}"


WHOLE_CLUSTER = Scope()


def namespaces_of(text: str) -> tuple[str, ...]:
    """Return the namespaces that a comma-separated list names, each once.

    Raises:
        ValueError: one of them is no name of a namespace.

    """
    names = [name.strip() for name in text.split(",")]
    for position, name in enumerate(names, start=1):
        if not _NAMESPACE.fullmatch(name):
            message = (
                f"must be names of namespaces, separated by commas: number {position} is no DNS label (lower-case "
                "letters, digits and hyphens, at most 63)"
            )
            raise ValueError(message)
    return tuple(dict.fromkeys(names))


def checked_namespaces(text: str) -> str:
    """Return a list of namespaces as it is; raises ValueError where ``namespaces_of`` does."""
    namespaces_of(text)
    return text


def checked_selector(text: str) -> str:
    """Return a label selector as it is.

    Raises:
        ValueError: the API server would refuse it.

    """
    if not _SELECTOR.fullmatch(text):
        message = "is no label selector: write requirements as shard=a, shard!=a, shard in (a,b), shard or !shard"
        raise ValueError(f"{message}, separated by commas")
    return text
