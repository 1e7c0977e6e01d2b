"""The access list: which resources the operator's own credentials may serve.

Anyone who can create a TairInstance names an instance id; without this list that
would reach every instance of the account. The default is therefore an empty
list, and an answer that permits too little says which line to add. The file is
read again when it changes; a bad edit keeps the last good list.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tair_operator.models import TairInstance
from tair_operator.situation import Grant, Verb

logger = logging.getLogger(__name__)

_Patterns = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class AccessRule(BaseModel):
    """Permits actions on instances to resources in namespaces. ``*`` in a pattern matches any run of characters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    namespaces: _Patterns
    """Names of namespaces."""

    regions: _Patterns
    """Region ids."""

    instance_ids: Annotated[_Patterns, Field(alias="instanceIds")]
    """Instance ids."""

    actions: Annotated[list[Verb], Field(min_length=1)]
    """Observe, Allocate, Release."""

    def covers(self, namespace: str, region_id: str, instance_id: str) -> bool:
        """Whether the rule speaks of this instance for this namespace."""
        return (
            _matches(self.namespaces, namespace)
            and _matches(self.regions, region_id)
            and _matches(self.instance_ids, instance_id)
        )


class AccessList(BaseModel):
    """All rules; what none of them permits is not permitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: list[AccessRule] = Field(default_factory=list)
    releases: Literal["Allow", "Hold"] = "Allow"
    """The fleet switch: Hold stops every release."""

    def grant(self, resource: TairInstance) -> Grant:
        """Return what the list permits for a resource. To act includes to observe."""
        namespace, region_id = resource.metadata.namespace, resource.spec.region_id
        instance_id = resource.spec.instance_id
        verbs = {verb for rule in self.rules if rule.covers(namespace, region_id, instance_id) for verb in rule.actions}
        if verbs:
            verbs.add(Verb.OBSERVE)
        rule = {
            "namespaces": [namespace],
            "regions": [region_id],
            "instanceIds": [instance_id],
            "actions": [str(verb) for verb in Verb],
        }
        # A namespace may be called "on" or "123": the dumper knows when that needs quotes.
        line = yaml.safe_dump(rule, default_flow_style=True, sort_keys=False, width=10_000).strip()
        hint = f"Whoever runs the operator can add to its access list: {line}"
        return Grant(frozenset(verbs), hint, are_releases_held=self.releases == "Hold")


class AccessFileError(Exception):
    """The access file cannot be used; the message has one line per mistake."""


def parse_access(text: str, name: str = "access file") -> AccessList:
    """Parse a YAML access list.

    Raises:
        AccessFileError: it is not YAML or not an access list.

    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        message = f"{name}{where}: not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        raise AccessFileError(message) from error
    except ValueError as error:
        # PyYAML lets the error of its own date parser pass.
        message = f"{name}: not valid YAML: {error}"
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

    @classmethod
    def open(cls, path: Path) -> "AccessFile":
        """Read the file for the first time. One that is not there yet permits nothing until it is.

        Raises:
            AccessFileError: it is bad; there is no last good list to fall back on.

        """
        if not path.exists():
            logger.warning("The access list %s is not there: no TairInstance is served until it is", path)
            return cls(path, AccessList())
        try:
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


def _matches(patterns: list[str], value: str) -> bool:
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), value) for pattern in patterns)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "top level"


def _version_of(path: Path) -> tuple[int, int, int]:
    # A mounted ConfigMap is replaced through a symbolic link: the inode changes where the times may not.
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
