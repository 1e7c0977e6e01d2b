"""``python -m benchmarks.floor``: CPU time of one request over TLS, with less and less of a client around it.

The server is the simulator, in a process of its own. The last row is what asyncio and
OpenSSL cost alone; what lies between it and the first is the choice of a library that
many people keep correct.
"""

import asyncio
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp

from benchmarks.figures import Spread, table
from tair_operator.cluster.server import ApiServer, open_api
from tests.integration.simulator_tls import write_pair
from tests.stage import Simulator

PATH: Final = "/_simulator/instances/r-bp1zxszhcgatnx0001"
ROUNDS, REQUESTS = 9, 200

Request = Callable[[], Awaitable[object]]


def main() -> int:
    """Measure in turns and print."""
    with TemporaryDirectory() as name:
        authority, key = write_pair(Path(name), "cloud")
        with Simulator(Path(name), tls=(authority, key)) as simulator:
            print(asyncio.run(_measure(simulator.url, ssl.create_default_context(cafile=authority))))
    return 0


async def _measure(url: str, trust: ssl.SSLContext) -> str:
    connector = aiohttp.TCPConnector(ssl=trust)
    reader, writer = await asyncio.open_connection(*url.removeprefix("https://").split(":"), ssl=trust)
    async with open_api(ApiServer(url, trust)) as api, aiohttp.ClientSession(connector=connector) as session:

        async def with_aiohttp() -> None:
            async with session.get(url + PATH) as reply:
                assert reply.status == 200
                await reply.read()

        async def with_streams() -> None:
            writer.write(f"GET {PATH} HTTP/1.1\r\nHost: simulator\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))

        requests: dict[str, Request] = {
            "as the operator asks Kubernetes, JSON and metrics included": lambda: api.request("GET", PATH),
            "aiohttp": with_aiohttp,
            "asyncio's streams, without HTTP": with_streams,
        }
        found: dict[str, list[float]] = {name: [] for name in requests}
        for _ in range(ROUNDS):
            for name, request in requests.items():
                found[name].append(await _cpu_ms(request))
    writer.close()
    return table(["one request over TLS", "CPU ms"], [[name, f"{Spread.of(ms):.2f}"] for name, ms in found.items()])


async def _cpu_ms(request: Request) -> float:
    began = time.process_time()
    for _ in range(REQUESTS):
        await request()
    return (time.process_time() - began) * 1000 / REQUESTS


if __name__ == "__main__":
    sys.exit(main())
