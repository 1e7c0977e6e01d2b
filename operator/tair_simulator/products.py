"""The three services on one port: R-kvstore, STS and the metadata server.

Each says who may call it (``check``), what a call does (``act``), and what a refusal of it looks like (``refuse``).
``server`` asks no more than that, so ledger, faults and holds work on all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tair_simulator import metadata, operations, sts
from tair_simulator.authorization import permit
from tair_simulator.calls import Call
from tair_simulator.cloud import Cloud
from tair_simulator.errors import CloudError, refusal
from tair_simulator.replies import Reply, failure, plain, success


@dataclass(frozen=True, slots=True)
class Result:
    """The reply that the cloud itself would send, if the call got that far, and whether it changed an instance."""

    reply: Reply | None
    effective: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """One service; ``check`` and ``act`` raise ``CloudError``."""

    check: Callable[[Cloud, Call], None]
    act: Callable[[Cloud, Call], Result]
    refuse: Callable[[Call, CloudError], Reply]


def product_of(call: Call) -> Product:
    """Return the service that a call is for."""
    if call.request.path.startswith(metadata.ROOT):
        return _METADATA
    return _STS if call.version == sts.VERSION else _R_KVSTORE


def _check_r_kvstore(cloud: Cloud, call: Call) -> None:
    _check_method(call)
    access_key_id = cloud.gate.admit(call.request, cloud.clock())
    operations.find_operation(call.action, call.version)
    permit(cloud, access_key_id, call.action, call.parameters, call.region_id)


def _act_r_kvstore(cloud: Cloud, call: Call) -> Result:
    outcome = operations.find_operation(call.action, call.version)(cloud, call.parameters, call.region_id)
    return Result(success(call.request_id, outcome.fields), outcome.effective)


def _check_sts(cloud: Cloud, call: Call) -> None:
    _check_method(call)
    if call.action not in sts.UNSIGNED:
        cloud.gate.admit(call.request, cloud.clock())
    _grant(cloud, call)


def _act_sts(cloud: Cloud, call: Call) -> Result:
    return Result(success(call.request_id, sts.give(cloud, _grant(cloud, call))))


def _grant(cloud: Cloud, call: Call) -> sts.Grant:
    exchange = {**sts.SIGNED, **sts.UNSIGNED}.get(call.action)
    if exchange is None:
        raise refusal("InvalidAction.NotFound")
    return exchange(cloud, call.parameters, cloud.gate.known(call.request) or "")


def _check_metadata(cloud: Cloud, call: Call) -> None:
    metadata.check(cloud, call.request.method, call.request.path, call.request.headers)


def _act_metadata(cloud: Cloud, call: Call) -> Result:
    return Result(plain(200, metadata.answer(cloud, call.request.path, call.request.headers)))


def _check_method(call: Call) -> None:
    if call.request.method not in {"GET", "POST"}:
        raise refusal("UnsupportedHTTPMethod")


_R_KVSTORE = Product(_check_r_kvstore, _act_r_kvstore, lambda call, error: failure(call.request_id, call.host, error))
_STS = Product(_check_sts, _act_sts, lambda call, error: failure(call.request_id, call.host, error, product="Sts"))
_METADATA = Product(
    _check_metadata, _act_metadata, lambda _call, error: plain(error.http_status, error.message, error.code)
)
