"""One signed call over TLS: our client against Alibaba's official asynchronous SDK, in one process, in turns.

The server is the simulator, in a process of its own, with a certificate that both
verify. The SDK opens a new session for each call and loads authorities for it: those
of the system, then those that it is told, else certifi's. How many there are decides
what that costs, so it runs twice: told of the simulator's authority alone, which is
the least that it can do, and with certifi's, as it is by itself. Our client has the
latter too, and loads them once.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import certifi
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_r_kvstore20150101.models import ReleaseDirectConnectionRequest
from alibabacloud_tea_openapi.exceptions import ClientException
from alibabacloud_tea_openapi.utils_models import Config

from benchmarks.figures import Spread
from tair_operator.__main__ import SystemClock
from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials
from tair_operator.aliyun.limiter import Limiter
from tair_operator.aliyun.wire import open_session
from tair_operator.models import Action
from tair_operator.ports import CloudError, Target
from tests.integration.simulator_tls import write_pair
from tests.stage import KEY_ID, KEY_SECRET, Simulator

REF = Target("r-bp1zxszhcgatnx0002", "cn-hangzhou")
REFUSAL = "NetTypeNotExists"
OURS = "tair-operator"
SDK, SDK_BUNDLE = "official async SDK, one authority", "official async SDK, certifi's authorities"


@dataclass(frozen=True)
class SignedCall:
    """CPU and wall time of one call in milliseconds, over the rounds."""

    name: str
    cpu_ms: Spread
    wall_ms: Spread


def measure(*, rounds: int, calls: int) -> list[SignedCall]:
    """Return the results, ours first."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        pair = write_pair(folder, "cloud")
        bundle = folder / "bundle.crt"
        bundle.write_text(Path(certifi.where()).read_text(encoding="utf-8") + pair[0].read_text(encoding="utf-8"))
        with Simulator(folder, tls=pair) as simulator:
            return asyncio.run(_compare(simulator.url, pair[0], bundle, rounds, calls))


async def _compare(url: str, authority: Path, bundle: Path, rounds: int, calls: int) -> list[SignedCall]:
    async with open_session(bundle) as session:
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
        await ours.observe(REF)

        # All ask to release what is not there: one request each, refused without effect, so that it can be repeated.
        async def our_call() -> None:
            try:
                await (await ours.prepare(Action.RELEASE, REF)).send()
            except CloudError as error:
                if error.code != REFUSAL:
                    raise

        rivals = {
            OURS: our_call,
            SDK: _sdk_call(url, authority),
            SDK_BUNDLE: _sdk_call(url, bundle),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
        for _ in range(rounds):
            for name, call in rivals.items():
                times[name].append(await _time(call, calls))
    return [
        SignedCall(name, Spread.of([cpu for cpu, _ in each]), Spread.of([wall for _, wall in each]))
        for name, each in times.items()
    ]


def _sdk_call(url: str, authorities: Path) -> Callable[[], Awaitable[None]]:
    client = Client(
        Config(
            access_key_id=KEY_ID,
            access_key_secret=KEY_SECRET,
            endpoint=url.removeprefix("https://"),
            protocol="HTTPS",
            ca=str(authorities),
        )
    )

    async def call() -> None:
        try:
            await client.release_direct_connection_async(ReleaseDirectConnectionRequest(instance_id=REF.instance_id))
        except ClientException as error:
            if error.code != REFUSAL:
                raise

    return call


async def _time(call: Callable[[], Awaitable[None]], calls: int) -> tuple[float, float]:
    """Return CPU and wall milliseconds per call."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.process_time() - cpu) * 1000 / calls, (time.perf_counter() - wall) * 1000 / calls
