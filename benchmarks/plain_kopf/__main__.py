"""An operator on plain kopf and the official asynchronous SDK: a change of the manifest is a call, and that is all.

``python -m benchmarks.plain_kopf``. It looks at nothing before the call, records
nothing before it, and does not follow it to its end; a refusal is tried again. This
is the least that does the job on a good day, and so the bar for latency.
"""

import asyncio
import os
from typing import Any

import kopf
from alibabacloud_r_kvstore20150101.client import Client
from alibabacloud_r_kvstore20150101.models import AllocateDirectConnectionRequest, ReleaseDirectConnectionRequest
from alibabacloud_tea_openapi.utils_models import Config

cloud = Client(
    Config(
        access_key_id=os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"],
        access_key_secret=os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        endpoint=os.environ["CLOUD_ENDPOINT"].removeprefix("https://"),
        protocol="HTTPS",
        ca=os.environ["CLOUD_CA_FILE"],
    )
)
# As many as the other operators have workers. Without a limit, the SDK blocks the loop in a burst until its own
# connections time out, half of the calls fail, and kopf tries them again after a minute.
places = asyncio.Semaphore(16)


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:  # noqa: ANN401 - kopf's signature
    """Keep kopf's defaults but for what the cluster does not have."""
    settings.peering.standalone = True
    settings.posting.enabled = False


@kopf.on.update("tair.alibabacloud.com", "v1alpha1", "tairinstances", field="spec.directConnection")
async def change(spec: kopf.Spec, new: Any, patch: kopf.Patch, **_: Any) -> None:  # noqa: ANN401 - kopf's
    """Call what the manifest asks for, and note the RequestId."""
    if new is None:
        return
    request = {"instance_id": spec["instanceId"]}
    async with places:
        if new:
            answer = await cloud.allocate_direct_connection_async(AllocateDirectConnectionRequest(**request))
        else:
            answer = await cloud.release_direct_connection_async(ReleaseDirectConnectionRequest(**request))
    patch.status["requestId"] = answer.body.request_id


if __name__ == "__main__":
    kopf.configure()
    kopf.run(clusterwide=True)
