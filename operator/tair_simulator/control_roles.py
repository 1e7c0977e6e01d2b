"""The part of the control API about roles, OIDC providers, and the role of the ECS instance.

An ARN stands in the path as it is, with its slash. None of this is secret: a key set is public.
"""

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from tair_simulator.control_input import CLOUD, PREFIX, json_body, not_found
from tair_simulator.mistakes import InputError, Strict
from tair_simulator.roles import ProviderArn, RoleArn

_ROLE_ARN: TypeAdapter[str] = TypeAdapter(RoleArn)
_PROVIDER_ARN: TypeAdapter[str] = TypeAdapter(ProviderArn)


def add_role_routes(app: web.Application) -> None:
    """Serve this part of the control API from this application."""
    app.router.add_get(f"{PREFIX}/roles", list_roles)
    app.router.add_get(f"{PREFIX}/roles/{{arn:.+}}", get_role)
    app.router.add_put(f"{PREFIX}/roles/{{arn:.+}}", put_role)
    app.router.add_delete(f"{PREFIX}/roles/{{arn:.+}}", delete_role)
    app.router.add_get(f"{PREFIX}/oidcProviders", list_providers)
    app.router.add_get(f"{PREFIX}/oidcProviders/{{arn:.+}}", get_provider)
    app.router.add_put(f"{PREFIX}/oidcProviders/{{arn:.+}}", put_provider)
    app.router.add_delete(f"{PREFIX}/oidcProviders/{{arn:.+}}", delete_provider)
    app.router.add_get(f"{PREFIX}/ecs", get_ecs)
    app.router.add_put(f"{PREFIX}/ecs", put_ecs)


async def list_roles(request: web.Request) -> web.Response:
    """Return all roles."""
    return web.json_response([_show(arn, role) for arn, role in request.app[CLOUD].directory.roles.items()])


async def get_role(request: web.Request) -> web.Response:
    """Return one role."""
    arn = request.match_info["arn"]
    role = request.app[CLOUD].directory.roles.get(arn)
    return _no_role() if role is None else web.json_response(_show(arn, role))


async def put_role(request: web.Request) -> web.Response:
    """Create a role, or change the fields in the body; answer 201 or 200 with the role."""
    arn, directory = _arn(request, _ROLE_ARN, "acs:ram::<account id>:role/<name>"), request.app[CLOUD].directory
    written = await json_body(request)
    existed = arn in directory.roles
    return web.json_response(_show(arn, directory.put_role(arn, written)), status=200 if existed else 201)


async def delete_role(request: web.Request) -> web.Response:
    """Remove a role; its sessions may do nothing any more."""
    removed = request.app[CLOUD].directory.roles.pop(request.match_info["arn"], None)
    return _no_role() if removed is None else web.Response(status=204)


async def list_providers(request: web.Request) -> web.Response:
    """Return all OIDC providers."""
    providers = request.app[CLOUD].directory.oidc_providers
    return web.json_response([_show(arn, provider) for arn, provider in providers.items()])


async def get_provider(request: web.Request) -> web.Response:
    """Return one OIDC provider."""
    arn = request.match_info["arn"]
    provider = request.app[CLOUD].directory.oidc_providers.get(arn)
    return _no_provider() if provider is None else web.json_response(_show(arn, provider))


async def put_provider(request: web.Request) -> web.Response:
    """Create an OIDC provider, or change the fields in the body; answer 201 or 200 with the provider."""
    form = "acs:ram::<account id>:oidc-provider/<name>"
    arn, directory = _arn(request, _PROVIDER_ARN, form), request.app[CLOUD].directory
    written = await json_body(request)
    existed = arn in directory.oidc_providers
    return web.json_response(_show(arn, directory.put_oidc_provider(arn, written)), status=200 if existed else 201)


async def delete_provider(request: web.Request) -> web.Response:
    """Remove an OIDC provider."""
    removed = request.app[CLOUD].directory.oidc_providers.pop(request.match_info["arn"], None)
    return _no_provider() if removed is None else web.Response(status=204)


async def get_ecs(request: web.Request) -> web.Response:
    """Return the role of the ECS instance."""
    return web.json_response(request.app[CLOUD].directory.ecs.model_dump(mode="json", by_alias=True))


async def put_ecs(request: web.Request) -> web.Response:
    """Attach another role to the ECS instance, or none."""
    request.app[CLOUD].directory.put_ecs(await json_body(request))
    return await get_ecs(request)


def _arn(request: web.Request, form: TypeAdapter[str], example: str) -> str:
    try:
        return form.validate_python(request.match_info["arn"])
    except ValidationError:
        raise InputError([f"ARN in the path: must look like {example}"]) from None


def _show(arn: str, described: Strict) -> dict[str, object]:
    return {"arn": arn, **described.model_dump(mode="json", by_alias=True)}


def _no_role() -> web.Response:
    return not_found("ARN in the path: no such role")


def _no_provider() -> web.Response:
    return not_found("ARN in the path: no such OIDC provider")
