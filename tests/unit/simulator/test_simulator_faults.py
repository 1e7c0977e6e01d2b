"""Faults: their four answers, their mistakes and their queue; and the ledger that notes them."""

import json
from datetime import UTC, datetime

import pytest

from tair_simulator.errors import DOCUMENTED
from tair_simulator.fault_kinds import KINDS, parse_fault
from tair_simulator.faults import FaultQueue, Setting
from tair_simulator.ledger import Entry, Ledger
from tair_simulator.mistakes import InputError
from tair_simulator.replies import Pace, Reply, success

SETTING = Setting("ID", "host:1")
OWN = success("ID", {})
NEEDED: dict[str, dict[str, object]] = {
    "delay": {"seconds": 1},
    "drip": {"bytesPerSecond": 1},
    "huge": {"mebibytes": 1},
    "late": {"seconds": 1},
    "slow-headers": {"seconds": 1},
    "type-jitter": {"jitter": ["NumbersAsText"]},
}


def entry(sequence: int, action: str = "DescribeInstances", instance_id: str | None = None) -> Entry:
    """Return an entry of a call that has just arrived."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Entry(sequence, now, action, "2015-01-01", instance_id, "key", f"ID-{sequence}", "host:1", "POST")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"kind": "error"}, (0, False, 0)),
        ({"kind": "error", "apply": True}, (0, True, 0)),
        ({"kind": "throttle"}, (0, False, 0)),
        ({"kind": "http502"}, (0, False, 0)),
        ({"kind": "http502", "apply": True}, (0, True, 0)),
        ({"kind": "empty500"}, (0, False, 0)),
        ({"kind": "truncated"}, (0, True, 0)),
        ({"kind": "delay", "seconds": 3}, (3, True, 0)),
        ({"kind": "delay", "seconds": 3, "when": "after"}, (0, True, 3)),
        ({"kind": "reset-before"}, (0, False, 0)),
        ({"kind": "reset-after"}, (0, True, 0)),
        ({"kind": "late", "seconds": 3}, (3, True, 0)),
        ({"kind": "hold"}, (0, True, 0)),
        ({"kind": "async-failure"}, (0, True, 0)),
        ({"kind": "unavailable"}, (0, False, 0)),
        ({"kind": "unavailable", "apply": True}, (0, True, 0)),
        ({"kind": "garbage"}, (0, True, 0)),
        ({"kind": "garbage", "apply": False}, (0, False, 0)),
    ],
)
def test_says_how_long_to_wait_and_whether_the_call_takes_effect(
    written: dict[str, object], expected: tuple[float, bool, float]
) -> None:
    fault = parse_fault({"action": "*", **written})

    assert (fault.seconds_at("before"), fault.applies, fault.seconds_at("after")) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"kind": "http502"}, Reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>\n", "text/html")),
        ({"kind": "empty500"}, Reply(500, b"")),
        ({"kind": "truncated"}, Reply(200, b'{"Request')),
        ({"kind": "empty200"}, Reply(200, b"")),
        ({"kind": "garbage"}, Reply(200, b"\x00\xff\xfe{not JSON\n")),
        ({"kind": "content-type"}, Reply(200, OWN.body, "text/html")),
        ({"kind": "content-type", "contentType": "application/xml"}, Reply(200, OWN.body, "application/xml")),
        ({"kind": "no-request-id"}, Reply(200, b"{}", anonymous=True)),
        ({"kind": "extra-fields"}, Reply(200, b'{"RequestId":"ID","XUnknown":{"List":[1,null,"x"]}}')),
        ({"kind": "lower-case"}, Reply(200, b'{"requestId":"ID"}')),
        ({"kind": "slow-headers", "seconds": 1}, OWN),
        ({"kind": "drip", "bytesPerSecond": 1}, OWN),
        ({"kind": "hold"}, OWN),
        ({"kind": "async-failure"}, OWN),
        ({"kind": "late", "seconds": 1}, None),
        ({"kind": "delay", "seconds": 1}, OWN),
        ({"kind": "reset-after"}, None),
    ],
)
def test_bends_the_reply(written: dict[str, object], expected: Reply | None) -> None:
    assert parse_fault({"action": "*", **written}).answer(OWN, SETTING) == expected


def test_bends_everything_inside_a_reply() -> None:
    own = success("ID", {"Items": {"Item": [{"Port": "6379"}, 7]}})

    def bent(**fault: object) -> object:
        reply = parse_fault({"action": "*", **fault}).answer(own, SETTING)
        assert reply is not None
        return json.loads(reply.body)

    unknown = {"XUnknown": {"List": [1, None, "x"]}}
    assert bent(kind="extra-fields") == {
        "RequestId": "ID",
        "Items": {"Item": [{"Port": "6379", **unknown}, 7], **unknown},
        **unknown,
    }
    assert bent(kind="lower-case") == {"requestId": "ID", "items": {"item": [{"port": "6379"}, 7]}}
    assert bent(kind="type-jitter", jitter=["TextAsNumbers"]) == {
        "RequestId": "ID",
        "Items": {"Item": [{"Port": 6379}, 7]},
    }


def test_a_reply_without_effect_looks_like_one_with_effect() -> None:
    fault = parse_fault({"action": "*", "kind": "content-type", "apply": False})

    assert fault.answer(None, SETTING) == Reply(200, OWN.body, "text/html")


def test_a_huge_reply_is_as_huge_as_it_says_and_still_right() -> None:
    reply = parse_fault({"action": "*", "kind": "huge", "mebibytes": 2}).answer(OWN, SETTING)

    assert reply is not None
    assert len(json.loads(reply.body)["Padding"]) == 2 * 1024 * 1024


@pytest.mark.parametrize("code", sorted(DOCUMENTED))
def test_a_known_code_brings_its_status_and_its_message(code: str) -> None:
    reply = parse_fault({"action": "*", "kind": "error", "code": code}).answer(None, SETTING)

    assert reply is not None
    assert (reply.http_status, json.loads(reply.body)["Message"]) == DOCUMENTED[code]


def test_a_known_code_may_come_with_another_status_and_message() -> None:
    fault = {"action": "*", "kind": "error", "code": "NotFound", "httpStatus": 400, "message": "m"}

    reply = parse_fault(fault).answer(None, SETTING)

    assert reply is not None
    assert (reply.http_status, json.loads(reply.body)["Message"]) == (400, "m")


def test_an_error_may_carry_the_detail_of_a_denial() -> None:
    detail = {"NoPermissionType": "ImplicitDeny"}
    fault = {"action": "*", "kind": "error", "code": "Forbidden.RAM", "accessDeniedDetail": detail}

    reply = parse_fault(fault).answer(None, SETTING)

    assert reply is not None
    assert json.loads(reply.body)["AccessDeniedDetail"] == detail


@pytest.mark.parametrize(
    ("written", "pace"),
    [
        ({"kind": "slow-headers", "seconds": 2}, Pace(header_seconds=2)),
        ({"kind": "drip", "bytesPerSecond": 7}, Pace(bytes_per_second=7)),
        ({"kind": "late", "seconds": 2}, Pace()),
    ],
)
def test_says_how_fast_the_answer_travels(written: dict[str, object], pace: Pace) -> None:
    assert parse_fault({"action": "*", **written}).pace == pace


def test_only_what_is_late_hangs_up_only_a_hold_is_held_and_only_one_kind_fails_later() -> None:
    faults = [parse_fault({"action": "*", "kind": kind, **NEEDED.get(kind, {})}) for kind in KINDS]

    assert [fault.kind for fault in faults if fault.hangs_up] == ["late"]
    assert [fault.kind for fault in faults if fault.hold_point] == ["hold"]
    assert [fault.kind for fault in faults if fault.fails_later] == ["async-failure"]


def test_an_error_has_the_form_of_the_api() -> None:
    fault = parse_fault(
        {"action": "*", "kind": "error", "httpStatus": 503, "code": "ServiceUnavailable", "message": "m"}
    )

    reply = fault.answer(None, SETTING)

    assert reply is not None
    assert (reply.http_status, reply.code, reply.headers) == (503, "ServiceUnavailable", {})
    assert b'"RequestId":"ID","HostId":"host:1","Code":"ServiceUnavailable","Message":"m"' in reply.body


def test_throttling_may_say_for_how_long() -> None:
    reply = parse_fault({"action": "*", "kind": "throttle", "retryAfterMs": 1500}).answer(None, SETTING)

    assert reply is not None
    assert (reply.http_status, reply.code, reply.headers) == (400, "Throttling.User", {"x-acs-retry-after": "1500"})


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (5, ["(top level): must be a JSON object with the fields action, kind and count"]),
        ({}, [f"kind: must be one of {', '.join(KINDS)}"]),
        ({"kind": ["error"]}, [f"kind: must be one of {', '.join(KINDS)}"]),
        ({"kind": "delay"}, ["action: is required", "seconds: is required"]),
        ({"kind": "hold", "action": "*", "count": 2}, ["count: Input should be 1"]),
        ({"kind": "hold", "action": "*", "point": "now"}, ["point: Input should be 'before' or 'after'"]),
        (
            {"kind": "content-type", "action": "*", "contentType": "a\r\nb"},
            [r"contentType: String should match pattern '^[\x21-\x7e][\x20-\x7e]{0,126}$'"],
        ),
        ({"kind": "huge", "action": "*", "mebibytes": 257}, ["mebibytes: Input should be less than or equal to 256"]),
        (
            {"kind": "type-jitter", "action": "*", "jitter": []},
            ["jitter: List should have at least 1 item after validation, not 0"],
        ),
        (
            {"kind": "error", "action": "*", "count": 0, "httpStatus": 200, "instanceId": "R", "seconds": 1},
            [
                "count: Input should be greater than or equal to 1",
                "instanceId: String should match pattern '^[a-z][a-z0-9-]{0,62}$'",
                "httpStatus: Input should be greater than or equal to 400",
                (
                    "seconds: unknown field; allowed here: accessDeniedDetail, "
                    "action, apply, code, count, httpStatus, instanceId, kind, message, retryAfterMs"
                ),
            ],
        ),
    ],
)
def test_names_every_mistake(written: object, lines: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_fault(written)

    assert sorted(caught.value.lines) == sorted(lines)


def test_faults_are_used_up_in_order_and_by_those_they_are_for() -> None:
    queue = FaultQueue()
    for kind, action, instance_id, count in [
        ("reset-after", "ReleaseDirectConnection", "r-1", 1),
        ("truncated", "DescribeInstances", "r-1", 1),
        ("empty500", "*", None, 2),
        ("http502", "DescribeInstances", None, 1),
    ]:
        queue.add(parse_fault({"kind": kind, "action": action, "instanceId": instance_id, "count": count}))

    calls = [
        ("ReleaseDirectConnection", "r-2"),
        ("ReleaseDirectConnection", "r-1"),
        ("DescribeInstances", "r-2,r-1"),
        ("DescribeInstances", None),
        ("DescribeInstances", None),
        ("DescribeInstances", "r-2,r-3"),
        ("DescribeInstances", "r-2,r-3"),
    ]
    met = [queue.take(*call) for call in calls]

    assert [fault and fault.kind for fault in met] == [
        "empty500",
        "reset-after",
        "truncated",
        "empty500",
        "http502",
        None,
        None,
    ]
    assert queue.pending() == []


def test_pending_faults_say_how_often_they_will_still_strike_and_can_be_cleared() -> None:
    queue = FaultQueue()
    queue.add(parse_fault({"kind": "empty500", "action": "*", "count": 3}))
    queue.take("DescribeInstances", None)
    left = [fault.count for fault in queue.pending()]
    queue.clear()

    assert (left, queue.take("DescribeInstances", None)) == ([2], None)


def test_an_entry_is_open_until_its_call_ended() -> None:
    ledger = Ledger()
    ledger.open(entry(1, "ReleaseDirectConnection", "r-1"))
    before = ledger.entries()[0].to_json()
    ledger.complete(1, http_status=200, code=None, effective=True, fault="delay")

    assert before == {
        "sequence": 1,
        "time": "2026-01-02T03:04:05.000000Z",
        "action": "ReleaseDirectConnection",
        "version": "2015-01-01",
        "instanceId": "r-1",
        "accessKeyId": "key",
        "requestId": "ID-1",
        "host": "host:1",
        "method": "POST",
        "httpStatus": None,
        "code": None,
        "effective": False,
        "fault": None,
        "done": False,
    }
    assert ledger.entries()[0].to_json() == {
        **before,
        "httpStatus": 200,
        "effective": True,
        "fault": "delay",
        "done": True,
    }


def test_entries_are_found_by_action_and_by_any_of_their_instances() -> None:
    ledger = Ledger()
    ledger.open(entry(1, "DescribeInstances", "r-1,r-2"))
    ledger.open(entry(2, "ReleaseDirectConnection", "r-2"))
    ledger.open(entry(3, "DescribeInstances"))

    def found(action: str | None, instance_id: str | None) -> list[int]:
        return [found.sequence for found in ledger.entries(action, instance_id)]

    assert found(None, "r-2") == [1, 2]
    assert found("DescribeInstances", None) == [1, 3]
    assert found("DescribeInstances", "r-2") == [1]
    assert found(None, "r-") == []


def test_the_ledger_is_bounded_and_what_left_it_is_not_completed() -> None:
    ledger = Ledger(limit=2)
    for sequence in (1, 2, 3):
        ledger.open(entry(sequence))
    ledger.complete(1, http_status=200, code=None, effective=True, fault=None)
    kept = [kept.sequence for kept in ledger.entries()]
    ledger.clear()

    assert (kept, ledger.entries(), ledger.next_sequence) == ([2, 3], [], 4)
