"""One signed call: our client against Alibaba's official asynchronous SDK, same server, same process, in turns.

The server is the simulator, in a process of its own, over plain http: it does not
serve TLS yet. What is compared is CPU time of the calling process; with TLS the
SDK would look worse, since it opens a new session for each call.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_r_kvstore20150101.models import ReleaseDirectConnectionRequest
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config

from tair_operator.__main__ import SystemClock
from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Action
from tair_operator.ports import CloudError, Target
from tests.stage import KEY_ID, KEY_SECRET, Simulator

REF = Target("r-bp1zxszhcgatnx0002", "cn-hangzhou")
REFUSAL = "NetTypeNotExists"
ROUNDS, CALLS = 7, 100


@dataclass(frozen=True, slots=True)
class Result:
    """CPU and wall time of one call in milliseconds: the median over the rounds, and all rounds."""

    name: str
    cpu_ms: float
    wall_ms: float
    rounds: list[float]


def measure() -> list[Result]:
    """Return the results, ours first."""
    with TemporaryDirectory() as folder, Simulator(Path(folder)) as simulator:
        return asyncio.run(_compare(simulator.url))


async def _compare(url: str) -> list[Result]:
    async with open_session(None) as session:
        ours = AliyunClient(
            session=session,
            credentials=lambda _: EnvironmentCredentials(
                {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": KEY_SECRET}
            ),
            limiter=Limiter(clock=time.monotonic, rate=1e6, burst=1_000_000),
            clock=SystemClock(),
            new_nonce=lambda: uuid.uuid4().hex,
            endpoint=url,
            call_deadline=timedelta(seconds=5),
        )
        sdk = Client(
            Config(
                access_key_id=KEY_ID,
                access_key_secret=KEY_SECRET,
                endpoint=url.removeprefix("http://"),
                protocol="HTTP",
            )
        )
        await ours.observe(REF)

        # Both ask to release what is not there: one request each, refused without effect, so that it can be repeated.
        async def our_call() -> None:
            try:
                await (await ours.prepare(Action.RELEASE, REF)).send()
            except CloudError as error:
                if error.code != REFUSAL:
                    raise

        async def sdk_call() -> None:
            try:
                await sdk.release_direct_connection_async(ReleaseDirectConnectionRequest(instance_id=REF.instance_id))
            except ClientException as error:
                if error.code != REFUSAL:
                    raise

        rivals: dict[str, Callable[[], Awaitable[None]]] = {"tair-operator": our_call, "official async SDK": sdk_call}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
        for _ in range(ROUNDS):
            for name, call in rivals.items():
                times[name].append(await _time(call))
    return [
        Result(
            name,
            cpu_ms=statistics.median(cpu for cpu, _ in rounds),
            wall_ms=statistics.median(wall for _, wall in rounds),
            rounds=[cpu for cpu, _ in rounds],
        )
        for name, rounds in times.items()
    ]


async def _time(call: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return CPU and wall milliseconds per call."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - cpu) * 1000 / CALLS, (time.perf_counter() - wall) * 1000 / CALLS
