"""Reads what the cloud answers: leniently where the API is known to vary, and never as "nothing there" by mistake.

Samples of one reply on the API pages write the same number as text and as a
number, leave fields out, and use both cases of a key. All of that is accepted.
But an item that might be the direct endpoint and cannot be read makes the whole
reply unreadable: skipping it would look like a released connection.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import time
from typing import NamedTuple

from tair_operator.aliyun.redaction import one_line
from tair_operator.ports import Endpoint, Instance, Window

_TEXT_MAX = 256
_PORT_MAX = 65535
_FINE = {"", "200", "success", "ok"}
_SWITCH = {"enable": True, "1": True, "true": True, "disable": False, "0": False, "false": False}
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?Z?")
_FLAGS = {"1": True, "true": True, "0": False, "false": False}


_CODE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class UnreadableError(Exception):
    """This is not an answer of the API; the message says why, without the answer."""


class Fields:
    """A JSON object whose keys are found in either case."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._lowered: dict[str, object] | None = None

    def get(self, name: str) -> object:
        """Return a value as it is; None when it is not there."""
        if name in self._values:
            return self._values[name]
        if self._lowered is None:
            self._lowered = {key.lower(): value for key, value in self._values.items()}
        return self._lowered.get(name.lower())

    def text(self, name: str) -> str | None:
        """Return a text, or a number as text, on one line and of bounded length; None for anything else."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        try:
            return one_line(str(value)[:_TEXT_MAX]) or None
        except ValueError:
            # Python refuses to print an integer of more than 4300 digits.
            return None

    def fields(self, name: str) -> "Fields":
        """Return an object; an empty one when it is missing or something else."""
        value = self.get(name)
        return Fields(value if isinstance(value, dict) else {})

    def items(self, name: str) -> Iterator["Fields"]:
        """Yield the objects of a list; nothing when it is missing or null.

        Raises:
            UnreadableError: it is no list, or has something else than objects in it.

        """
        values = self.get(name)
        if values is None:
            return
        if not isinstance(values, list):
            raise UnreadableError(f"{name} is not a list")
        for value in values:
            if not isinstance(value, dict):
                raise UnreadableError(f"{name} has an item that is not an object")
            yield Fields(value)


class Failure(NamedTuple):
    """What an answer says about a call that the cloud refused."""

    code: str
    message: str


def parse(body: bytes) -> Fields:
    """Return the JSON object of an answer.

    Raises:
        UnreadableError: the body is something else.

    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableError("the answer is not JSON" if body else "the answer is empty") from None
    if not isinstance(value, dict):
        raise UnreadableError("the answer is not a JSON object")
    return Fields(value)


def is_code(text: str) -> bool:
    """Whether this can be an error code."""
    return _CODE.fullmatch(text) is not None


def request_id_in(headers: Mapping[str, str], fields: Fields | None = None) -> str | None:
    """Return the RequestId of an answer, from its body or else from its headers; None for what cannot be one."""
    texts = (None if fields is None else fields.text("RequestId"), headers.get("x-acs-request-id"))
    return next((text for text in texts if text is not None and _REQUEST_ID.fullmatch(text)), None)


def failure_in(reply: Fields) -> Failure | None:
    """Return the error that an answer carries; some products send one with HTTP status 200.

    Source: "Common response" of the RPC style, Alibaba Cloud help centre. The message is as it came: redact it.
    """
    code = reply.text("Code")
    if code is None or code.lower() in _FINE:
        return None
    message = reply.get("Message")
    text = message if isinstance(message, str) else ""
    return Failure("".join(code.split()), text + _denial(reply.fields("AccessDeniedDetail")))


def instance_in(reply: Fields, instance_id: str) -> Instance | None:
    """Return the instance with this id from a reply of DescribeInstances; None when the reply does not list it.

    Source: API page DescribeInstances, Alibaba Cloud help centre.

    Raises:
        UnreadableError: the reply shows neither the instance nor that it is not there.

    """
    listing = reply.get("Instances")
    if listing is not None and not isinstance(listing, dict):
        raise UnreadableError("Instances is not an object")
    items = list(reply.fields("Instances").items("KVStoreInstance"))
    if not items and listing is None and reply.text("TotalCount") != "0":
        raise UnreadableError("the answer of DescribeInstances has no list of instances")
    if not items and reply.text("TotalCount") not in {None, "0"}:
        raise UnreadableError("the answer of DescribeInstances counts instances and lists none")
    if any(item.text("InstanceId") is None for item in items):
        raise UnreadableError("the answer of DescribeInstances lists an instance without an id")
    found = [item for item in items if item.text("InstanceId") == instance_id]
    if len(found) > 1:
        raise UnreadableError("the answer of DescribeInstances lists the instance twice")
    return _instance(found[0], instance_id) if found else None


def endpoints_in(reply: Fields) -> tuple[Endpoint, ...]:
    """Return the endpoints from a reply of DescribeDBInstanceNetInfo; none proves nothing.

    Source: API page DescribeDBInstanceNetInfo, Alibaba Cloud help centre.

    Raises:
        UnreadableError: an item cannot be told from the direct endpoint.

    """
    return tuple(_endpoint(item) for item in reply.fields("NetInfoItems").items("InstanceNetInfo"))


def tls_in(reply: Fields) -> bool | None:
    """Return from a reply of DescribeInstanceSSL whether TLS is on; None when the reply does not tell.

    Source: API page DescribeInstanceSSL, Alibaba Cloud help centre, and the model of the official SDK.
    """
    return _SWITCH.get((reply.text("SSLEnabled") or "").lower())


def window_in(reply: Fields) -> Window | None:
    """Return the maintenance window from a reply of DescribeInstanceAttribute; None when the reply does not tell.

    Source: API page DescribeInstanceAttribute, Alibaba Cloud help centre: MaintainStartTime and MaintainEndTime are
    times of the day in UTC, such as 18:00Z.
    """
    for item in reply.fields("Instances").items("DBInstanceAttribute"):
        start, end = _time_of_day(item.text("MaintainStartTime")), _time_of_day(item.text("MaintainEndTime"))
        if start is not None and end is not None and start != end:
            return Window(start, end)
    return None


def _time_of_day(text: str | None) -> time | None:
    match = _TIME_OF_DAY.fullmatch(text or "")
    return time(int(match[1]), int(match[2])) if match else None


def _instance(item: Fields, instance_id: str) -> Instance:
    return Instance(
        instance_id=instance_id,
        region_id=item.text("RegionId"),
        status=item.text("InstanceStatus"),
        name=item.text("InstanceName"),
        architecture_type=item.text("ArchitectureType"),
        computing_type=item.text("ComputingType"),
        engine_version=item.text("EngineVersion"),
        network_type=item.text("NetworkType"),
    )


def _endpoint(item: Fields) -> Endpoint:
    host, direct = item.text("ConnectionString"), _flag(item)
    if host is None and direct is None:
        raise UnreadableError("the answer of DescribeDBInstanceNetInfo has an item with neither host nor flag")
    return Endpoint(
        host=host or "",
        port=_port(item),
        direct=direct,
        ip_address=item.text("IPAddress"),
        vpc_id=item.text("VPCId"),
        v_switch_id=item.text("VSwitchId"),
        vpc_instance_id=item.text("VPCInstanceId"),
    )


def _flag(item: Fields) -> bool | None:
    value = item.get("DirectConnection")
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    flag = _FLAGS.get((item.text("DirectConnection") or "").lower().removesuffix(".0"))
    if flag is None:
        raise UnreadableError("DirectConnection is neither 0 nor 1")
    return flag


def _port(item: Fields) -> int | None:
    text = (item.text("Port") or "").removesuffix(".0")
    # Not isdigit alone: it accepts digits that int() does not.
    port = int(text) if text.isascii() and text.isdigit() else 0
    return port if 0 < port <= _PORT_MAX else None


def _denial(detail: Fields) -> str:
    """Say what RAM denied, and which kind of policy did."""
    action, kind = detail.text("AuthAction"), detail.text("NoPermissionType")
    if action is None:
        return ""
    by = " by ".join(part for part in (kind, detail.text("PolicyType")) if part)
    return f" ({action}: {by})" if by else f" ({action})"
