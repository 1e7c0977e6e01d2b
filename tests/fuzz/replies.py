"""Replies of the cloud: whatever comes back, it is understood, or known not to be, and shows no secret.

The whole client is under test, from the bytes on: what the answer is, whether a
call may have had an effect, what a look proves. What the bytes prove is said here
a second time, in other words.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import aiohttp
from hypothesis import strategies as st
from yarl import URL

from tair_operator.aliyun.client import AliyunClient
from tair_operator.aliyun.credentials import EnvironmentCredentials
from tair_operator.aliyun.errors import TABLE, UNREADABLE_ANSWER
from tair_operator.aliyun.limiter import Limiter
from tair_operator.models import Action, ConnectionState, Reason
from tair_operator.plan import decide
from tair_operator.ports import Answer, CloudError, Detail, Effect, Observation, Target
from tests import session
from tests.builders import ID, NOW, REGION, context, resource, status
from tests.fuzz import target
from tests.fuzz.target import Case
from tests.fuzz.text import Json, mutated, odd_json, odd_texts, spoilt, written
from tests.virtual_time import VirtualClock, VirtualLoop

SECRET, TOKEN = "Ab1xYz9xYz9xYz9xYz9xYz9xYz9Qw7", "CAIS" + "AbC+/z09" * 30 + "=="
KEY_ID = "LTAI5tFuzzExample1"
MESSAGE_MAX = 512 + 120
"""A redacted message and the advice behind it."""
TEXT_MAX = 256
CHUNK = 12

CONSOLE = {
    "InstanceId": ID,
    "InstanceName": "orders",
    "InstanceStatus": "Normal",
    "RegionId": REGION,
    "ArchitectureType": "cluster",
    "ComputingType": "Machine",
    "EngineVersion": "5.0",
    "NetworkType": "VPC",
}
PROXY = {"ConnectionString": f"{ID}.redis.rds.aliyuncs.com", "DirectConnection": 0, "Port": "6379"}
DIRECT = {
    "ConnectionString": f"{ID}-direct.redis.rds.aliyuncs.com",
    "DirectConnection": 1,
    "IPAddress": "10.0.0.1",
    "Port": "6379",
    "VPCId": "vpc-1",
    "VSwitchId": "vsw-1",
    "VPCInstanceId": f"{ID}-direct",
}
REQUEST_ID = {"RequestId": "5D622714-AEDD-4609-9167-F5DDD3D1AAAA"}
LISTING = {**REQUEST_ID, "TotalCount": 1, "PageNumber": 1, "PageSize": 30, "Instances": {"KVStoreInstance": [CONSOLE]}}
NOBODY = {**REQUEST_ID, "TotalCount": 0, "Instances": {"KVStoreInstance": []}}
SHOWING = {**REQUEST_ID, "InstanceNetworkType": "VPC", "NetInfoItems": {"InstanceNetInfo": [PROXY, DIRECT]}}
WITHOUT = {**REQUEST_ID, "InstanceNetworkType": "VPC", "NetInfoItems": {"InstanceNetInfo": [PROXY]}}
TLS = {**REQUEST_ID, "SSLEnabled": "Disable"}
WINDOW = {
    **REQUEST_ID,
    "Instances": {"DBInstanceAttribute": [{"MaintainStartTime": "18:00Z", "MaintainEndTime": "22:00Z"}]},
}
GOOD: dict[str, Json] = {
    "ReleaseDirectConnection": REQUEST_ID,
    "AllocateDirectConnection": REQUEST_ID,
    "DescribeInstances": LISTING,
    "DescribeDBInstanceNetInfo": SHOWING,
    "DescribeInstanceSSL": TLS,
    "DescribeInstanceAttribute": WINDOW,
}
FORMS = {
    "plain": TOKEN,
    "key": SECRET,
    "percent": quote(TOKEN, safe="~"),
    "percent, slash kept": quote(TOKEN),
    "percent, lower case": re.sub(r"%..", lambda found: found[0].lower(), quote(TOKEN, safe="~")),
    "percent, twice": quote(quote(TOKEN, safe="~"), safe="~"),
    "html": TOKEN.replace("+", "&#43;").replace("/", "&#x2F;"),
    "broken lines": "\n".join(TOKEN[at : at + 64] for at in range(0, len(TOKEN), 64)),
}
"""How a server may quote what it was sent."""

# --- cases ---

_LISTED = sorted({row.code.replace("*", "Xyz") for row in TABLE} | {"Unheard.Of", "Not Found", "InternalError "})
messages = odd_texts | st.builds(
    "{} {} {}".format,
    st.sampled_from(["security token", "x-acs-security-token:", "got", '{"SecurityToken":"']),
    st.sampled_from(sorted(FORMS.values())),
    odd_texts,
)
refusals = st.fixed_dictionaries(
    {},
    optional={
        "RequestId": st.just(REQUEST_ID["RequestId"]) | odd_json,
        "Code": st.sampled_from(_LISTED) | odd_json,
        "code": st.sampled_from(_LISTED),
        "Message": messages,
        "HostId": st.just("r-kvstore.aliyuncs.com"),
        "AccessDeniedDetail": st.fixed_dictionaries({"AuthAction": messages}) | odd_json,
    },
)
headers = st.dictionaries(
    st.sampled_from(["x-acs-retry-after", "x-acs-request-id", "Content-Type", "Retry-After", "Connection", "Location"]),
    odd_texts | st.sampled_from(["1500", "9" * 5000, "close", f"https://evil.test/?{FORMS['percent']}"]),
    max_size=3,
)
statuses = st.sampled_from([200] * 8 + [400, 403, 404, 429, 500, 503]) | st.integers(100, 599)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return which call is answered, and the answer."""
    action = draw(st.sampled_from(sorted(GOOD)))
    shapes = [GOOD[action], NOBODY, WITHOUT] if "DescribeI" not in action else [GOOD[action]]
    bodies = st.one_of(
        st.sampled_from(shapes).flatmap(mutated).map(written).flatmap(spoilt),
        st.sampled_from([LISTING, NOBODY, SHOWING, WITHOUT]).flatmap(mutated).map(written).flatmap(spoilt),
        refusals.map(written).flatmap(spoilt),
        odd_json.map(written).flatmap(spoilt),
        st.binary(max_size=60),
        st.sampled_from([b"", b"<html><h1>502 Bad Gateway</h1></html>", b'{"Code":"OK","Code":"Throttling"}']),
    )
    answer = {"status": draw(statuses), "headers": draw(headers), "body": draw(bodies).decode("latin-1")}
    return {"action": action, **answer}


# --- the client, with nobody but us at the other end ---


@dataclass
class _Cloud:
    """Answers one action as the case says, the others well."""

    case: Case
    sent: list[str] = field(default_factory=list)

    async def answer(self, _: URL, headers: Mapping[str, str], progress: SimpleNamespace) -> session.Answer:
        progress.begin()
        progress.send()
        action = headers["x-acs-action"]
        self.sent.append(action)
        if action == self.case["action"]:
            return session.Answer(self.case["status"], self.case["headers"], self.case["body"].encode("latin-1"))
        return session.Answer(200, {}, json.dumps(GOOD[action]).encode())


def _client(cloud: _Cloud) -> AliyunClient:
    clock = VirtualClock()
    keys = {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
        "ALIBABA_CLOUD_SECURITY_TOKEN": TOKEN,
    }
    return AliyunClient(
        session=cast("aiohttp.ClientSession", session.Session(cloud.answer)),
        credentials=lambda _: EnvironmentCredentials(keys),
        limiter=Limiter(clock=clock.monotonic),
        clock=clock,
        new_nonce=lambda: "nonce",
    )


async def _ask(cloud: _Cloud) -> Answer | Observation | CloudError:
    client, asked = _client(cloud), Target(ID, REGION)
    try:
        if cloud.case["action"] in set(Action):
            call = await client.prepare(Action(cloud.case["action"]), asked)
            return await call.send()
        look = await client.observe(asked)
        return await client.look_closer(asked, look, frozenset(Detail))
    except CloudError as error:
        return error


# --- what must hold ---


def check(case: Case) -> None:
    """Let the client meet the answer, and judge what it makes of it."""
    cloud = _Cloud(case)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        outcome = runner.run(_ask(cloud))
    body, is_success = _object(case["body"].encode("latin-1")), 200 <= case["status"] < 300
    match outcome:
        case CloudError():
            _judge_error(case, outcome, body)
        case Answer():
            assert cloud.sent.count(case["action"]) == 1
            assert is_success
            assert body is not None
            assert not _failing_codes(body)
            assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", outcome.request_id)
        case Observation():
            _judge_look(case, outcome, body if is_success else None)


def _judge_error(case: Case, error: CloudError, body: dict[str, Json] | None) -> None:
    assert error.sent
    assert error.http_status == case["status"]
    assert len(error.message) <= MESSAGE_MAX
    assert len(error.code) <= 128
    for text in (error.message, error.code, error.action, error.request_id or "-", str(error)):
        assert text
        assert text.isprintable()
        _shows_no_secret(text)
    assert error.code == UNREADABLE_ANSWER or body is not None or 300 <= case["status"] < 400
    if case["action"] in set(Action) and error.effect is Effect.NONE:
        assert body is not None
        assert _failing_codes(body) & {error.code}
        assert _rules_out(error.code), f"{error.code} does not rule out an effect"


def _judge_look(case: Case, look: Observation, body: dict[str, Json] | None) -> None:
    texts = [text for item in (look.instance, *look.endpoints) if item for text in _texts(item)]
    assert all(len(text) <= TEXT_MAX and text.isprintable() for text in texts)
    if case["action"] == "DescribeInstances":
        assert body is not None
        assert (look.instance is not None) is _lists(body)
    if case["action"] == "DescribeDBInstanceNetInfo":
        assert body is not None
        known = resource(False, status=status(ConnectionState.ALLOCATED, reached=True))
        twice = context(seen={"absent and Normal": 60})
        plan = decide(known, look, twice, NOW)
        if plan.state is ConnectionState.RELEASED or plan.reason is Reason.RELEASED:
            assert _shows_absence(body), "an absence that the answer does not show"


def _shows_no_secret(text: str) -> None:
    # However it was quoted: nobody puts a secret together again from what is left.
    plain = re.sub(r"%(25)*2[Bb]|&#43;", "+", text)
    plain = re.sub(r"%(25)*2[Ff]|&#x2F;", "/", plain)
    squeezed = "".join(plain.split())
    for secret in (SECRET, TOKEN):
        pieces = {secret[at : at + CHUNK] for at in range(len(secret) - CHUNK + 1)}
        assert not any(piece in squeezed for piece in pieces), "a secret is shown"


def _object(body: bytes) -> dict[str, Json] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _failing_codes(body: dict[str, Json]) -> set[str]:
    """Return what an answer says under the name Code, the exact spelling first, that does not mean success."""
    name = "Code" if "Code" in body else next((key for key in reversed(body) if key.lower() == "code"), None)
    value = body.get(name) if name is not None else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return set()
    try:
        text = "".join(str(value).split())
    except ValueError:
        return set()
    return set() if text.lower() in {"", "200", "success", "ok"} else {text}


def _rules_out(code: str) -> bool:
    """Whether a page of the cloud says that a call with this code touched nothing."""
    ours = {row.code.lower() for row in TABLE if row.source.startswith("this operator")}
    return code.lower() not in ours


def _get(value: Json, name: str) -> Json:
    if not isinstance(value, dict):
        return None
    return value[name] if name in value else {key.lower(): item for key, item in value.items()}.get(name.lower())


def _lists(body: dict[str, Json]) -> bool:
    """Whether the instance is in the list; there has to be a list, or a count of nothing."""
    listing, count = _get(body, "Instances"), _get(body, "TotalCount")
    assert listing is None or isinstance(listing, dict), "Instances is no object, so nothing is known"
    assert listing is not None or str(count) == "0"
    items = _get(listing, "KVStoreInstance") or []
    return any(_get(item, "InstanceId") == ID for item in items)


def _shows_absence(body: dict[str, Json]) -> bool:
    """Whether there are items, each of them is readable, and none may be the direct endpoint."""
    items = _get(_get(body, "NetInfoItems"), "InstanceNetInfo")
    if not isinstance(items, list) or not items:
        return False
    for item in items:
        flag, host = _get(item, "DirectConnection"), _get(item, "ConnectionString")
        if str(flag).strip().lower() in {"1", "1.0", "true"}:
            return False
        if flag in {None, ""} and (host is None or host == DIRECT["ConnectionString"]):
            return False
    return True


def _texts(item: object) -> list[str]:
    return [value for name in item.__slots__ if isinstance(value := getattr(item, name), str)]  # type: ignore[attr-defined]


TARGET = target.Target("replies", cases(), check, examples=250)
