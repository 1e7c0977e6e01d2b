"""The access list: which resources the operator's own credentials may serve.

Anyone who can create a TairInstance names an instance id; without this list that
would reach every instance of the account. The default is therefore an empty
list, and an answer that permits too little says which line to add. The file is
read again when it changes; a bad edit keeps the last good list.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, assert_never

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tair_operator.models import TairInstance
from tair_operator.situation import Grant, Verb
from tair_operator.subject import target_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _mistake(message: str) -> PydanticCustomError:
    # A plain ValueError would have "Value error, " put before its message, and braces have a meaning in templates.
    return PydanticCustomError("access_list", "{text}", {"text": message})


def _not_empty(value: T) -> T:
    # A key with nothing behind it was begun and not finished. As if it were not there, it would permit more.
    if value is None:
        raise _mistake("there is nothing behind this key: write a value, or remove the key")
    return value


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if _LABEL_NAME.fullmatch(name) and (not slash or _LABEL_PREFIX.fullmatch(prefix)):
        return key
    raise _mistake(f"{key!r} is no key of a label: write name or prefix/name, such as kubernetes.io/metadata.name")


def _label_value(value: str) -> str:
    if not value or _LABEL_NAME.fullmatch(value):
        return value
    raise _mistake(f"{value!r} is no value of a label: up to 63 letters, digits, '-', '_' and '.'; no patterns")


_Patterns = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
_LabelKey = Annotated[str, AfterValidator(_label_key)]
_LabelValue = Annotated[str, AfterValidator(_label_value)]


class Comparison(StrEnum):
    """How an expression compares a label, in the words of Kubernetes."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelExpression(BaseModel):
    """One requirement on a label."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    key: _LabelKey
    """Key of the label."""

    operator: Comparison
    """In, NotIn, Exists or DoesNotExist. As in Kubernetes, NotIn also matches where there is no such label."""

    values: list[_LabelValue] = Field(default_factory=list)
    """What In and NotIn compare with; the other two take none."""

    @model_validator(mode="after")
    def _has_the_values_it_needs(self) -> Self:
        takes_values = self.operator in {Comparison.IN, Comparison.NOT_IN}
        if takes_values and not self.values:
            raise _mistake(f"operator {self.operator} needs values")
        if self.values and not takes_values:
            raise _mistake(f"operator {self.operator} takes no values")
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels are as required."""
        match self.operator:
            case Comparison.IN:
                return self.key in labels and labels[self.key] in self.values
            case Comparison.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Comparison.EXISTS:
                return self.key in labels
            case Comparison.DOES_NOT_EXIST:
                return self.key not in labels
        assert_never(self.operator)


class NamespaceSelector(BaseModel):
    """Picks namespaces by their labels, as a LabelSelector of Kubernetes does: all that it says has to be true."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    match_labels: Annotated[dict[_LabelKey, _LabelValue], Field(alias="matchLabels", default_factory=dict)]
    """Labels that the namespace has, with exactly these values."""

    match_expressions: Annotated[list[LabelExpression], Field(alias="matchExpressions", default_factory=list)]
    """Requirements that the labels of the namespace meet."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        # In Kubernetes an empty selector matches everything: not what a list that permits should read into a blank.
        if not self.match_labels and not self.match_expressions:
            raise _mistake('set matchLabels or matchExpressions; for every namespace write namespaces: ["*"]')
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is picked."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            expression.matches(labels) for expression in self.match_expressions
        )


class AccessRule(BaseModel):
    """Permits actions on instances to resources in namespaces. ``*`` in a pattern matches any run of characters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    namespaces: Annotated[_Patterns | None, BeforeValidator(_not_empty)] = None
    """Names of namespaces."""

    namespace_selector: Annotated[
        NamespaceSelector | None, BeforeValidator(_not_empty), Field(alias="namespaceSelector")
    ] = None
    """Labels of namespaces. Where ``namespaces`` is there too, both have to match."""

    regions: _Patterns
    """Region ids."""

    instance_ids: Annotated[_Patterns, Field(alias="instanceIds")]
    """Instance ids."""

    actions: Annotated[list[Verb], Field(min_length=1)]
    """Observe, Allocate, Release."""

    approval: Literal["Automatic", "Required"] = "Automatic"
    """Required: a release that this rule permits waits for an approval, whatever the manifest says."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.namespaces is None and self.namespace_selector is None:
            raise _mistake("set namespaces, namespaceSelector, or both")
        if self.approval == "Required" and Verb.RELEASE not in self.actions:
            raise _mistake("approval: Required is about releases: add Release to actions, or remove approval")
        return self

    def covers(self, resource: TairInstance, labels: Mapping[str, str] | None, *, if_unknown: bool) -> bool:
        """Whether the rule speaks of this resource; ``if_unknown`` where only labels that are not known could tell."""
        return (
            (self.namespaces is None or _matches(self.namespaces, resource.metadata.namespace))
            and _matches(self.regions, resource.spec.region_id)
            and _matches(self.instance_ids, resource.spec.instance_id)
            and (self.namespace_selector is None or _selects(self.namespace_selector, labels, if_unknown=if_unknown))
        )


class AccessList(BaseModel):
    """All rules; what none of them permits is not permitted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rules: list[AccessRule] = Field(default_factory=list)
    """What is permitted; rules add up."""

    releases: Literal["Allow", "Hold"] = "Allow"
    """The fleet switch: Hold stops every release."""

    @property
    def needs_labels(self) -> bool:
        """Whether some rule asks for the labels of a namespace."""
        return any(rule.namespace_selector is not None for rule in self.rules)

    def grant(self, resource: TairInstance, labels: Mapping[str, str] | None = None) -> Grant:
        """Return what the list permits for a resource. To act includes to observe.

        ``labels`` are those of its namespace. While they are not known no selector
        permits anything, but the approval that its rule asks for is asked for. A
        resource with credentials of its own is permitted everything, since the cloud
        decides what those reach; approvals are asked for all the same.
        """
        verbs = frozenset(Verb) if target_of(resource).principal is not None else self._verbs(resource, labels)
        # Asked for several times in a pass, and writing the line costs more than all the rest of it.
        is_enough = verbs == frozenset(Verb)
        return Grant(
            verbs,
            "" if is_enough else f"Whoever runs the operator can add to its access list: {_line_for(resource)}",
            are_releases_held=self.releases == "Hold",
            requires_approval=any(
                rule.approval == "Required" and rule.covers(resource, labels, if_unknown=True) for rule in self.rules
            ),
        )

    def _verbs(self, resource: TairInstance, labels: Mapping[str, str] | None) -> frozenset[Verb]:
        permitting = [rule for rule in self.rules if rule.covers(resource, labels, if_unknown=False)]
        verbs = {verb for rule in permitting for verb in rule.actions}
        return frozenset(verbs | {Verb.OBSERVE}) if verbs else frozenset()


ODD_YAML = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What PyYAML stumbles over itself: a date that does not exist, a tag that does not fit, brackets without end."""


class AccessFileError(Exception):
    """The access file cannot be used; the message has one line per mistake."""


def parse_access(text: str, name: str = "access file") -> AccessList:
    """Parse a YAML access list.

    Raises:
        AccessFileError: it is not YAML or not an access list.

    """
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        message = f"{name}{where}: not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        raise AccessFileError(message) from error
    except ODD_YAML as error:
        why = (
            "brackets within brackets without end"
            if isinstance(error, RecursionError)
            else "a value is not what it seems"
        )
        message = f"{name}: not valid YAML: {error if isinstance(error, ValueError) else why}"
        raise AccessFileError(message) from error
    try:
        return AccessList.model_validate({} if content is None else content)
    except ValidationError as error:
        lines = [f"{name}: {_path(mistake['loc'])}: {mistake['msg']}" for mistake in error.errors()]
        raise AccessFileError("\n".join(lines)) from error


@dataclass(slots=True)
class AccessFile:
    """An access list that follows its file."""

    path: Path
    current: AccessList
    _version: tuple[int, int, int] | None = None
    _told: str = ""
    """What the log says already: the file is looked at every few seconds."""

    @property
    def is_valid(self) -> bool:
        """Whether the list in force is that of the file: a bad edit is not taken."""
        return not self._told

    @classmethod
    def open(cls, path: Path) -> "AccessFile":
        """Read the file for the first time. One that is not there yet permits nothing until it is.

        Raises:
            AccessFileError: it is bad; there is no last good list to fall back on.

        """
        try:
            if not path.exists():
                logger.warning("The access list %s is not there: no TairInstance is served until it is", path)
                return cls(path, AccessList())
            # The version first: what changes while it is read is read again.
            version = _version_of(path)
            return cls(path, parse_access(path.read_text(encoding="utf-8"), str(path)), version)
        except (OSError, UnicodeDecodeError) as error:
            message = f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
            raise AccessFileError(message) from error

    def reload(self) -> bool:
        """Read the file again if it changed; return whether the list did. Blocks on the disk."""
        try:
            version = _version_of(self.path)
            if version == self._version:
                return False
            text = self.path.read_text(encoding="utf-8")
            self._version = version
            fresh = parse_access(text, str(self.path))
        except (OSError, UnicodeDecodeError, AccessFileError) as error:
            if isinstance(error, OSError):
                # The same file may come back: then this is over, and nothing else would say so.
                self._version = None
            if str(error) != self._told:
                logger.warning("The access list is not reloaded, the last good one stays in force: %s", error)
            self._told = str(error)
            return False
        self._told = ""
        has_changed = fresh != self.current
        self.current = fresh
        if has_changed:
            logger.info("The access list was reloaded: %d rules", len(fresh.rules))
        return has_changed


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML takes the last, and a Hold above an Allow would be no brake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"key {key.value!r} is there twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _selects(selector: NamespaceSelector, labels: Mapping[str, str] | None, *, if_unknown: bool) -> bool:
    # Every namespace has the label kubernetes.io/metadata.name, so no labels at all are labels that could not be read.
    # NotIn and DoesNotExist would match them.
    return selector.matches(labels) if labels else if_unknown


def _line_for(resource: TairInstance) -> str:
    rule = {
        "namespaces": [resource.metadata.namespace],
        "regions": [resource.spec.region_id],
        "instanceIds": [resource.spec.instance_id],
        "actions": [str(verb) for verb in Verb],
    }
    # A namespace may be called "on" or "123": the dumper knows when that needs quotes.
    return yaml.safe_dump(rule, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _matches(patterns: list[str], value: str) -> bool:
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), value) for pattern in patterns)


def _path(location: tuple[int | str, ...]) -> str:
    # A key that somebody wrote may have line breaks in it, and what is said about it is one line.
    return ".".join(text if (text := str(part)).isprintable() else ascii(text) for part in location) or "top level"


def _version_of(path: Path) -> tuple[int, int, int]:
    # A mounted ConfigMap is replaced through a symbolic link: the inode changes where the times may not.
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
