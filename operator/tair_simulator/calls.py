"""One call as it arrived: read, named, but not yet believed."""

import re
from dataclasses import dataclass
from uuid import uuid4

from aiohttp import web

from tair_simulator import metadata
from tair_simulator.signature import SignedRequest

# Only regional names tie a call to a region: the central host r-kvstore.aliyuncs.com serves several, and so does any
# other name, or a simulator on 127.0.0.1 could serve one region only.
_REGIONAL_HOST = re.compile(r"r-kvstore(?:-vpc)?\.([a-z0-9-]+)\.aliyuncs\.com(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the operation and version of the API that it names."""

    request: SignedRequest
    parameters: dict[str, str]
    action: str
    version: str
    request_id: str

    @property
    def host(self) -> str:
        """The host and port that the client meant to reach."""
        return self.request.headers.get("host", "")

    @property
    def region_id(self) -> str | None:
        """The region that the host stands for, if it stands for one."""
        found = _REGIONAL_HOST.fullmatch(self.host.lower())
        return found and found.group(1)

    @property
    def instance_id(self) -> str | None:
        """The instance, or comma separated instances, that the call is about."""
        return self.parameters.get("InstanceId") or self.parameters.get("InstanceIds")


async def read_call(request: web.Request) -> Call:
    """Read a request whole; headers name the operation, and parameters do so for clients of the older signature."""
    path, _, query = request.raw_path.partition("?")
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed = SignedRequest(request.method, path, query, headers, await request.read())
    parameters = signed.parameters()
    if path.startswith(metadata.ROOT):
        action, version = metadata.action_of(path), metadata.VERSION
    else:
        action = headers.get("x-acs-action") or parameters.get("Action", "")
        version = headers.get("x-acs-version") or parameters.get("Version", "")
    return Call(signed, parameters, action, version, request_id=str(uuid4()).upper())
