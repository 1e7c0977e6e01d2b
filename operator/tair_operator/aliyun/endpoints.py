"""Where a region's API answers.

The table is our own, from the public endpoint list of R-kvstore in Alibaba's
API metadata (aliyun-openapi-meta). The maps inside the SDK change between its
major versions, and send a VPC call for cn-hangzhou to the public host.
"""

import re
from typing import NamedTuple

CENTRAL_HOST = "r-kvstore.aliyuncs.com"
CENTRAL_REGIONS = frozenset({"cn-hangzhou", "cn-hangzhou-finance", "cn-heyuan", "cn-shanghai", "cn-wulanchabu"})
"""Regions whose public API is the central host. Every other one has a host of its own, and so has every VPC."""

_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Endpoint(NamedTuple):
    """One origin: ``host`` is the value of the Host header, so it has the port if the URL has one."""

    scheme: str
    host: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}"


def endpoint_of(region: str, *, vpc: bool = False, override: str | None = None) -> Endpoint:
    """Return where to call for a region.

    ``override`` is an origin, ``http(s)://host[:port]``, that serves all regions
    and wins over everything. A region that is not in the table follows the rule
    that the help centre gives: ``r-kvstore.<region>.aliyuncs.com``.

    Raises:
        ValueError: the region cannot be part of a host name.

    """
    if override is not None:
        scheme, _, host = override.lower().rstrip("/").partition("://")
        default_port = ":443" if scheme == "https" else ":80"
        # The Host header leaves a default port out, and the Host header is signed.
        return Endpoint(scheme, host.removesuffix(default_port))
    if _REGION.fullmatch(region) is None:
        msg = f"{region!r} is no region id"
        raise ValueError(msg)
    if vpc:
        return Endpoint("https", f"r-kvstore-vpc.{region}.aliyuncs.com")
    if region in CENTRAL_REGIONS:
        return Endpoint("https", CENTRAL_HOST)
    return Endpoint("https", f"r-kvstore.{region}.aliyuncs.com")
