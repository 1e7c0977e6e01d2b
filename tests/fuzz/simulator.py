"""Seeds and control requests of the simulator: taken, or refused with every mistake, no secret, and no change."""

import asyncio
import json
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import strategies as st

from tair_simulator.cloud import Cloud
from tair_simulator.mistakes import InputError
from tair_simulator.seed import Seed, parse_seed
from tair_simulator.server import create_app
from tests.builders import NOW
from tests.fuzz.schema import ROOT
from tests.fuzz.target import Case, Target
from tests.fuzz.text import Json, mutated, odd_json, spoilt, written
from tests.fuzz.yaml_text import yaml_texts

SECRET = "S3cretOfTheSeed"
ROLE, PROVIDER = "acs:ram::1234567890123456:role/tair", "acs:ram::1234567890123456:oidc-provider/cluster"
SAMPLE = (
    (ROOT / "examples" / "simulator" / "seed.yaml").read_text(encoding="utf-8").replace("demoAccessKeySecret", SECRET)
)
seed_cases = st.fixed_dictionaries({"text": yaml_texts(SAMPLE)})


def check_seed(case: Case) -> None:
    """Read a seed, and start a cloud from it."""
    seed = _parsed(case["text"])
    if isinstance(seed, InputError):
        assert seed.lines
        for line in seed.lines:
            assert line.isprintable()
            assert SECRET not in line
        return
    cloud = Cloud(seed, lambda: NOW)
    cloud.records()


def _parsed(text: str) -> Seed | InputError:
    try:
        return parse_seed(text)
    except InputError as error:
        return error


# --- the control API ---

BODIES: dict[str, Json] = {
    "instances/r-bp1": {
        "regionId": "cn-hangzhou",
        "directConnection": True,
        "endpoint": {"prefix": "orders00", "port": 6380, "ipAddress": "10.0.0.9"},
        "maintenanceWindow": {"start": "02:00Z", "end": "06:00Z"},
        "timing": {"lagSeconds": 0.1, "busySeconds": 0, "busyStatus": None, "netInfoChanges": "WithNormal"},
        "refusals": {"notCluster": "InvalidConnType"},
        "tags": {"team": "orders"},
        "jitter": [],
    },
    "accessKeys/demo": {
        "secret": SECRET,
        "securityToken": f"{SECRET}Token",
        "expiration": "2026-03-02T12:00:00Z",
        "tokens": [{"token": SECRET, "expiration": None}],
        "policies": [{"effect": "Allow", "actions": ["kvstore:*"], "resources": ["*"]}],
        "displayName": "demo",
    },
    f"roles/{ROLE}": {"trust": {"oidc": [{"provider": PROVIDER, "audience": "sts.aliyuncs.com"}]}, "policies": []},
    f"oidcProviders/{PROVIDER}": {"issuer": "https://issuer.example", "audiences": ["sts.aliyuncs.com"]},
    "ecs": {"role": None},
    "throttling": {"user": {"callsPerSecond": 30, "burst": 10, "per": "account", "retryAfter": True}, "apis": {}},
    "faults": {"kind": "delay", "action": "*", "seconds": 0, "when": "before", "count": 1},
    "reset": {},
}
_REST = ["instances", "ledger?x=1", "ledger?action=%00", "holds", "holds/h1", "holds/h1/release", "healthz", "nowhere"]
paths = st.sampled_from([*BODIES, *BODIES, *_REST, "instances/R_1", "accessKeys/%20", "roles/x", "instances/r-%ff"])


@st.composite
def control_cases(draw: st.DrawFn) -> Case:
    """Return some requests, one after another."""
    requests = []
    for _ in range(draw(st.integers(1, 4))):
        path = draw(paths)
        usual = {"faults": "POST", "reset": "POST"}.get(path, "PUT" if path in BODIES else "GET")
        method = draw(st.sampled_from([usual] * 5 + ["GET", "PUT", "POST", "DELETE"]))
        sample = BODIES.get(path, {})
        bodies = st.just(sample) | mutated(sample) | mutated(sample) | odd_json
        body = draw(bodies.map(written).flatmap(spoilt))
        requests.append({"method": method, "path": path, "body": body.decode("latin-1")})
    return {"requests": requests}


def check_control(case: Case) -> None:
    """Send the requests to a simulator of their own."""
    asyncio.run(_send(case["requests"]))


async def _send(requests: list[dict[str, str]]) -> None:
    app = create_app(Cloud(parse_seed(""), lambda: NOW))
    async with TestServer(app) as server, ClientSession(server.make_url("/")) as session:
        for request in requests:
            before = await _state(session)
            url = f"/_simulator/{request['path']}"
            async with session.request(request["method"], url, data=request["body"].encode("latin-1")) as reply:
                text, code = await reply.text(), reply.status
            assert code < 500, f"{code}: {text}"
            assert SECRET not in text
            if code >= 400:
                body = json.loads(text)
                assert body["message"]
                assert body["mistakes"]
                assert await _state(session) == before


async def _state(session: ClientSession) -> list[Any]:
    found = []
    for name in ("instances", "accessKeys", "roles", "oidcProviders", "ecs", "throttling", "faults"):
        async with session.get(f"/_simulator/{name}") as reply:
            assert reply.status == web.HTTPOk.status_code, name
            found.append(await reply.json())
    return found


SEED = Target("seeds", seed_cases, check_seed, examples=50)
CONTROL = Target("control", control_cases(), check_control, examples=15)
