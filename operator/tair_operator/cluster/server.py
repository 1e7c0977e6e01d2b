"""The way to the API server: where it is, whom to trust, which token to show, and one request.

``kubernetes.aio`` reads the configuration (in a pod or from a kubeconfig); the
requests themselves go over one bare aiohttp session, because a status patch
through its models costs twice the CPU.
"""

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import Configuration

from tair_operator.metrics.controller import count_request
from tair_operator.ports import ClusterRefusedError, ClusterUnavailableError
from tair_operator.stopwatch import waiting

TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TOKEN_SECONDS = 60.0
"""A mounted token is read again after this time: kubelet replaces it before it expires."""
COMPONENT = "tair-operator"
JSON_PATCH, APPLY_PATCH = "application/json-patch+json", "application/apply-patch+yaml"
PASSING = {408, 409, 429}
FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 403, 404, 409, 422

Body = dict[str, Any]


class ClusterConfigError(Exception):
    """There is no usable way to the API server; the message says what to do."""


@dataclass(slots=True)
class ApiServer:
    """The way to the API server: its address, whom to trust, and the token to show."""

    url: str
    tls: ssl.SSLContext | None
    ca_file: str | None = None
    token: str | None = None
    token_file: Path | None = None
    certificate: tuple[str, str | None] | None = None
    _read_at: float = field(default=float("-inf"))

    @property
    def host(self) -> str:
        """Host and port, as metrics name the server."""
        return self.url.partition("://")[2].partition("/")[0]

    async def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request."""
        token = await self.current_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def current_token(self) -> str | None:
        """Return the token; a mounted one is read again once a minute, through a thread."""
        now = asyncio.get_running_loop().time()
        if self.token_file is not None and now - self._read_at > TOKEN_SECONDS:
            self.token = (await asyncio.to_thread(self.token_file.read_text, encoding="utf-8")).strip()
            self._read_at = now
        return self.token


async def find_api_server(environ: Mapping[str, str] = os.environ) -> ApiServer:
    """Find the API server: in the cluster when the token is mounted, else through KUBECONFIG.

    Raises:
        ClusterConfigError: neither works.

    """
    configuration = Configuration()
    in_cluster = await asyncio.to_thread(TOKEN_FILE.exists) and "KUBERNETES_SERVICE_HOST" in environ
    try:
        if in_cluster:
            await asyncio.to_thread(kubernetes_config.load_incluster_config, configuration)
        else:
            await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=environ.get("KUBECONFIG"), client_configuration=configuration, persist_config=False
            )
    # The library lets through whatever a file that is no kubeconfig makes it stumble over.
    except (kubernetes_config.ConfigException, OSError, yaml.YAMLError, TypeError, ValueError, LookupError) as error:
        # Of a file's content nothing may be shown: a token may be in it.
        is_plain = isinstance(error, (kubernetes_config.ConfigException, OSError))
        message = (
            f"no way to the Kubernetes API ({error if is_plain else type(error).__name__}): run in a pod with a "
            "ServiceAccount, or set KUBECONFIG to a readable kubeconfig"
        )
        raise ClusterConfigError(message) from (error if is_plain else None)
    bearer = configuration.api_key.get("BearerToken", "").split(" ", 1)[-1]
    return ApiServer(
        url=configuration.host.rstrip("/"),
        tls=await asyncio.to_thread(_tls, configuration) if configuration.host.startswith("https") else None,
        ca_file=configuration.ssl_ca_cert,
        token=bearer or None,
        token_file=TOKEN_FILE if in_cluster else None,
        certificate=(configuration.cert_file, configuration.key_file) if configuration.cert_file else None,
    )


@asynccontextmanager
async def open_api(server: ApiServer) -> AsyncIterator["Api"]:
    """Open the one session to the API server, for as long as the context lasts."""
    connector = aiohttp.TCPConnector(limit=32, ssl=server.tls if server.tls is not None else False)
    timeout = aiohttp.ClientTimeout(total=30, connect=5)
    headers = {"User-Agent": COMPONENT, "Accept": "application/json"}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield Api(server, session)


@dataclass(slots=True)
class Api:
    """Requests to the API server; what became of each is for the caller to judge."""

    server: ApiServer
    session: aiohttp.ClientSession

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON_PATCH,
    ) -> tuple[int, Body]:
        """Send one request and return the status and the JSON object of the answer.

        ``content_type`` says what the body of a PATCH is.

        Raises:
            ClusterUnavailableError: there was no readable answer.

        """
        started = time.monotonic()
        code: int | None = None
        try:
            headers = await self.server.headers()
            if method == "PATCH":
                headers["Content-Type"] = content_type
            # Bounded by the timeouts of the session; an API server that hangs is no reason to be killed.
            with waiting():
                async with self.session.request(
                    method, self.server.url + path, json=body, params=query, headers=headers
                ) as response:
                    code = response.status
                    return code, _object(await response.read(), code)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            message = f"the Kubernetes API did not answer {method} {path}: {type(error).__name__}"
            raise ClusterUnavailableError(message) from error
        finally:
            count_request(method, self.server.host, code, time.monotonic() - started)


def _object(body: bytes, status: int) -> Body:
    try:
        parsed = json.loads(body)
    except ValueError:
        # Of a refusal the status is enough: an unknown group is answered with a line of text.
        if status >= 400:  # noqa: PLR2004
            return {}
        raise
    return parsed if isinstance(parsed, dict) else {}


def is_refusal(status: int, body: Body) -> bool:
    """Tell a write that an admission policy, a webhook or the schema refuses from a failed ``test`` of a JSON patch."""
    has_causes = bool((body.get("details") or {}).get("causes"))
    return status == UNPROCESSABLE and (has_causes or "denied" in str(body.get("message", "")))


def expect(status: int, body: Body) -> Body:
    """Return the body of a success.

    Raises:
        ClusterUnavailableError: it is none.

    """
    if status < 300:  # noqa: PLR2004
        return body
    message = f"the Kubernetes API answered {status} {body.get('reason', '')}: {body.get('message', '')}"
    is_for_good = 400 <= status < 500 and status not in PASSING  # noqa: PLR2004 - the 4xx range
    # Admission comes before storage, and a webhook may be down for days while the API server is well.
    is_refused = is_for_good or "failed calling webhook" in message
    raise (ClusterRefusedError if is_refused else ClusterUnavailableError)(message)


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
