"""Who may become whom: the roles, the providers of identity tokens, and the role of the simulated ECS instance.

All of it can be changed while the simulator runs. A name that leads nowhere is a mistake when it is written; a role
or a provider that is removed later leaves such names behind, as in the real RAM.
"""

from collections.abc import Collection, Iterator, Mapping

from tair_simulator.mistakes import InputError, Strict, parse, patched
from tair_simulator.oidc_providers import OidcProvider
from tair_simulator.roles import Role, name_of


class Ecs(Strict):
    """The ECS instance whose metadata is served; without a role, it has no credentials to give."""

    role: str | None = None


class Directory:
    """The roles and providers that exist, by their ARNs."""

    def __init__(self, roles: Mapping[str, Role], oidc_providers: Mapping[str, OidcProvider], ecs: Ecs) -> None:
        self.roles = dict(roles)
        self.oidc_providers = dict(oidc_providers)
        self.ecs = ecs

    def put_role(self, arn: str, written: object) -> Role:
        """Create a role, or change the written fields of one; raise ``InputError`` and change nothing."""
        role = patched(Role, self.roles.get(arn), written)
        mistakes = list(unknown_providers(role, self.oidc_providers))
        if mistakes:
            raise InputError(mistakes)
        self.roles[arn] = role
        return role

    def put_oidc_provider(self, arn: str, written: object) -> OidcProvider:
        """Create a provider, or change the written fields of one; raise ``InputError`` and change nothing."""
        provider = patched(OidcProvider, self.oidc_providers.get(arn), written)
        self.oidc_providers[arn] = provider
        return provider

    def put_ecs(self, written: object) -> Ecs:
        """Attach another role to the ECS instance, or none; raise ``InputError`` and change nothing."""
        ecs = parse(Ecs, written)
        mistake = unknown_role(ecs.role, self.roles)
        if mistake:
            raise InputError([f"role: {mistake}"])
        self.ecs = ecs
        return ecs

    def ecs_role(self) -> str | None:
        """Return the ARN of the role that the ECS instance has now."""
        return next(_named(self.ecs.role, self.roles), None)


def unknown_role(written: str | None, arns: Collection[str]) -> str | None:
    """Return what is wrong with the ARN or name of a role, if anything is."""
    if written is None:
        return None
    match len(list(_named(written, arns))):
        case 0:
            return f"names no role that exists; known: {', '.join(arns) or 'none'}"
        case 1:
            return None
        case _:
            return "is the name of several roles; write the ARN of one"


def unknown_providers(role: Role, arns: Collection[str]) -> Iterator[str]:
    """Yield one line for each provider in the trust policy that does not exist."""
    for number, trust in enumerate(role.trust.oidc):
        if trust.provider not in arns:
            known = ", ".join(arns) or "none"
            yield f"trust.oidc.{number}.provider: names no OIDC provider that exists; known: {known}"


def _named(written: str | None, arns: Collection[str]) -> Iterator[str]:
    return (arn for arn in arns if written in {arn, name_of(arn)})
