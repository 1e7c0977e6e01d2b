"""What is read from an answer: as much as possible, and never an absence that is not there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tair_operator.aliyun.replies import Failure, Fields, UnreadableError, endpoints_in, failure_in, instance_in, parse
from tair_operator.ports import Endpoint, Instance

ID = "r-bp1zxszhcgatnx0001"
ITEM = {
    "InstanceId": ID,
    "InstanceName": "orders",
    "InstanceStatus": "Normal",
    "RegionId": "cn-hangzhou",
    "ArchitectureType": "cluster",
    "ComputingType": "Machine",
    "EngineVersion": "5.0",
    "NetworkType": "VPC",
    "SomethingNew": {"a": [1]},
}
INSTANCE = Instance(ID, "cn-hangzhou", "Normal", "orders", "cluster", "Machine", "5.0", "VPC")
DIRECT = {
    "ConnectionString": "d.redis.rds.aliyuncs.com",
    "DirectConnection": 1,
    "IPAddress": "10.0.0.1",
    "Port": "6379",
    "VPCId": "vpc-1",
    "VSwitchId": "vsw-1",
    "VPCInstanceId": "id-1",
}
ENDPOINT = Endpoint("d.redis.rds.aliyuncs.com", 6379, True, "10.0.0.1", "vpc-1", "vsw-1", "id-1")


def instances(*items: object, **more: object) -> Fields:
    """Return a reply of DescribeInstances."""
    return Fields({"RequestId": "1", "Instances": {"KVStoreInstance": list(items)}, **more})


def net_info(*items: object) -> Fields:
    """Return a reply of DescribeDBInstanceNetInfo."""
    return Fields({"RequestId": "1", "NetInfoItems": {"InstanceNetInfo": list(items)}})


def lowered(value: object) -> object:
    """Return JSON with all keys in lower case."""
    if isinstance(value, dict):
        return {key.lower(): lowered(item) for key, item in value.items()}
    return [lowered(item) for item in value] if isinstance(value, list) else value


def test_an_instance_is_found_by_its_id_among_others() -> None:
    assert instance_in(instances({"InstanceId": "r-other"}, ITEM), ID) == INSTANCE


def test_keys_may_be_in_lower_case() -> None:
    body = json.dumps(lowered({"Instances": {"KVStoreInstance": [ITEM]}}))

    assert instance_in(parse(body.encode()), ID) == INSTANCE
    assert endpoints_in(parse(json.dumps(lowered({"NetInfoItems": {"InstanceNetInfo": [DIRECT]}})).encode())) == (
        ENDPOINT,
    )


def test_fields_that_are_missing_empty_or_of_another_type_are_unknown_and_numbers_are_texts() -> None:
    item = {"InstanceId": ID, "EngineVersion": 5.0, "InstanceName": "", "InstanceStatus": ["x"], "RegionId": True}

    assert instance_in(instances(item), ID) == Instance(ID, engine_version="5.0")


@pytest.mark.parametrize(
    "reply",
    [
        instances(),
        instances({"InstanceId": "r-other"}),
        instances({"InstanceId": ID.upper()}),
        instances(TotalCount=0),
        Fields({"Instances": {"KVStoreInstance": None}, "TotalCount": "0"}),
        Fields({"Instances": {}}),
        Fields({"Instances": None, "TotalCount": 0}),
    ],
)
def test_an_instance_that_is_not_listed_is_not_there(reply: Fields) -> None:
    assert instance_in(reply, ID) is None


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Fields({}), "has no list"),
        (Fields({"TotalCount": 1}), "has no list"),
        (Fields({"Instances": [ITEM]}), "is not an object"),
        (Fields({"Instances": "none"}), "is not an object"),
        (instances(TotalCount=1), "counts instances and lists none"),
        (instances({}), "without an id"),
        (instances(None), "an item that is not an object"),
        (Fields({"Instances": {"KVStoreInstance": "x"}}), "is not a list"),
        (instances(ITEM, ITEM), "twice"),
    ],
)
def test_an_answer_that_does_not_show_that_the_instance_is_not_there_proves_nothing(reply: Fields, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        instance_in(reply, ID)


def test_an_endpoint_has_all_its_fields() -> None:
    assert endpoints_in(net_info(DIRECT)) == (ENDPOINT,)


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (1, True),
        (0, False),
        ("1", True),
        ("0", False),
        (1.0, True),
        (True, True),
        (False, False),
        ("true", True),
        ("False", False),
        (None, None),
        ("", None),
    ],
    ids=repr,
)
def test_the_flag_is_read_in_every_type_and_its_absence_is_not_a_no(value: object, flag: object) -> None:
    (endpoint,) = endpoints_in(net_info({"ConnectionString": "h", "DirectConnection": value}))
    (without,) = endpoints_in(net_info({"ConnectionString": "h"}))

    assert endpoint.direct is flag
    assert without == Endpoint("h", direct=None)


@pytest.mark.parametrize("value", [2, -1, "yes", [], {}, 0.5])
def test_a_flag_that_cannot_be_read_makes_the_answer_unreadable(value: object) -> None:
    with pytest.raises(UnreadableError, match="neither 0 nor 1"):
        endpoints_in(net_info({"ConnectionString": "h", "DirectConnection": value}))


def test_the_direct_endpoint_counts_even_without_its_host() -> None:
    assert endpoints_in(net_info({"DirectConnection": 1})) == (Endpoint("", direct=True),)


@pytest.mark.parametrize("item", [{}, {"Port": 6379}, None, "x"])
def test_an_item_that_might_be_the_direct_endpoint_is_not_skipped(item: object) -> None:
    with pytest.raises(UnreadableError):
        endpoints_in(net_info({"ConnectionString": "h", "DirectConnection": 0}, item))


@pytest.mark.parametrize(
    "items", [{}, {"NetInfoItems": {}}, {"NetInfoItems": None}, {"NetInfoItems": {"InstanceNetInfo": None}}]
)
def test_no_items_are_no_endpoints(items: dict[str, object]) -> None:
    assert endpoints_in(Fields(items)) == ()


@pytest.mark.parametrize(
    ("port", "read"),
    [
        (6379, 6379),
        ("6379", 6379),
        (6379.0, 6379),
        (0, None),
        (65536, None),
        ("x", None),
        (True, None),
        ("\u0663", None),
    ],
    ids=repr,
)
def test_a_port_is_a_number_or_unknown(port: object, read: int | None) -> None:
    assert endpoints_in(net_info({"ConnectionString": "h", "Port": port})) == (Endpoint("h", read),)


def test_texts_are_short_and_on_one_line() -> None:
    fields = Fields({"a": "x\n\u202ey\ud800" + "z" * 1000, "b": 10**5000})

    assert fields.text("a") == "x y " + "z" * 251
    assert fields.text("b") is None


@pytest.mark.parametrize("code", [None, "", "200", 200, "OK", "Success", "success", [], {}], ids=repr)
def test_an_answer_with_a_code_that_means_success_is_no_failure(code: object) -> None:
    assert failure_in(Fields({"Code": code, "Message": "x"})) is None
    assert failure_in(Fields({})) is None


def test_an_answer_with_any_other_code_is_a_failure() -> None:
    assert failure_in(Fields({"code": "A.B", "message": "why"})) == Failure("A.B", "why")
    assert failure_in(Fields({"Code": 500, "Message": 7})) == Failure("500", "")


def test_a_denial_says_which_action_which_policy_denied() -> None:
    detail = {"AuthAction": "kvstore:X", "NoPermissionType": "ImplicitDeny", "PolicyType": "ControlPolicy"}

    full = failure_in(Fields({"Code": "NoPermission", "Message": "no.", "AccessDeniedDetail": detail}))
    short = failure_in(Fields({"Code": "NoPermission", "Message": "no.", "AccessDeniedDetail": {"AuthAction": "a:B"}}))

    assert full == Failure("NoPermission", "no. (kvstore:X: ImplicitDeny by ControlPolicy)")
    assert short == Failure("NoPermission", "no. (a:B)")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b"<html>", "not JSON"),
        (b'{"RequestId":', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_what_is_no_json_object_is_no_answer(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        parse(body)


KEYS = st.sampled_from([*ITEM, *DIRECT, "Instances", "KVStoreInstance", "NetInfoItems", "InstanceNetInfo", "Code"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(ID)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5)
)


@given(st.dictionaries(KEYS, JSON, max_size=6), st.lists(st.dictionaries(KEYS, JSON, max_size=6) | JSON, max_size=3))
def test_any_json_gives_a_result_or_an_unreadable_answer_and_nothing_else(
    reply: dict[str, object], items: list[object]
) -> None:
    lists = {"Instances": {"KVStoreInstance": items}, "NetInfoItems": {"InstanceNetInfo": items}}
    for value in (reply, lists, {**lists, **reply}):
        fields = parse(json.dumps(value).encode())
        failure_in(fields)
        for read in (lambda fields: instance_in(fields, ID), endpoints_in):
            try:
                read(fields)
            except UnreadableError as error:
                assert str(error)  # noqa: PT017 - raising is one of the two things that may happen
