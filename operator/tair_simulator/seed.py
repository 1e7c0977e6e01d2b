"""The seed: what the simulated cloud contains when it starts, read from a YAML file.

All mistakes in a file are reported at once, one line each, with the path to the mistake and what is allowed there.
The text of the file is never repeated in a message, because it holds secrets.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from pydantic import Field

from tair_simulator.access_keys import AccessKey
from tair_simulator.directory import Ecs, unknown_providers, unknown_role
from tair_simulator.instances import Instance, InstanceId, default_prefix
from tair_simulator.mistakes import InputError, Strict, parse
from tair_simulator.oidc_providers import OidcProvider
from tair_simulator.roles import ProviderArn, Role, RoleArn
from tair_simulator.throttling import Throttling


class Seed(Strict):
    """Everything a seed file may hold."""

    access_keys: dict[str, AccessKey] = Field(default_factory=dict)
    instances: dict[InstanceId, Instance] = Field(default_factory=dict)
    throttling: Throttling = Throttling()
    roles: dict[RoleArn, Role] = Field(default_factory=dict)
    oidc_providers: dict[ProviderArn, OidcProvider] = Field(default_factory=dict)
    ecs: Ecs = Ecs()


class _Loader(yaml.SafeLoader):
    """YAML in which a key may occur once: a second ``r-1`` would silently replace the first."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - as in PyYAML
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(problem_mark=node.start_mark)
        for key in _repeated([key for key, _ in node.value]):
            raise yaml.constructor.ConstructorError(problem_mark=key.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_seed(file: Path) -> Seed:
    """Return what ``file`` describes; raise ``InputError`` with all mistakes."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError([f"{file}: cannot be read: {reason}"]) from None
    return parse_seed(text)


def parse_seed(text: str) -> Seed:
    """Return what the text of a seed file describes; an empty file is an empty cloud."""
    try:
        written = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from the safe loader
    except yaml.constructor.ConstructorError as error:
        raise InputError([f"{_place(error)}: not a usable key; perhaps it occurs twice in one mapping"]) from None
    # PyYAML itself stumbles over a date that does not exist, a tag that does not fit, brackets without end.
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError([f"{_place(error)}: not valid YAML"]) from None
    seed = parse(Seed, {} if written is None else written)
    mistakes = [*_clashes(seed), *_dead_ends(seed)]
    if mistakes:
        raise InputError(mistakes)
    return seed


def _clashes(seed: Seed) -> Iterator[str]:
    """Yield one line for each endpoint whose host name another instance has."""
    owners = {instance_id: instance_id for instance_id in seed.instances}
    for instance_id, instance in seed.instances.items():
        if not instance.direct_connection:
            continue
        prefix = (instance.endpoint and instance.endpoint.prefix) or default_prefix(instance_id)
        owner = owners.setdefault(prefix, instance_id)
        # As its own prefix, an instance may have its id: the console guide says that it is the default.
        if owner != instance_id:
            yield f"instances.{instance_id}.endpoint.prefix: is taken by instances.{owner}"


def _dead_ends(seed: Seed) -> Iterator[str]:
    """Yield one line for each role or provider that is named and does not exist."""
    named = {f"accessKeys.{access_key_id}": key.role for access_key_id, key in seed.access_keys.items()}
    for where, role in {**named, "ecs": seed.ecs.role}.items():
        mistake = unknown_role(role, seed.roles)
        if mistake:
            yield f"{where}.role: {mistake}"
    for arn, described in seed.roles.items():
        yield from (f"roles.{arn}.{mistake}" for mistake in unknown_providers(described, seed.oidc_providers))


def _repeated(keys: Iterable[yaml.Node]) -> Iterator[yaml.Node]:
    seen: set[str] = set()
    for key in keys:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            yield key
        seen.add(str(key.value))


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere in the file"
