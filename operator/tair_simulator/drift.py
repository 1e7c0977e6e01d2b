"""What somebody else does to an instance, in the console or otherwise: the patch behind ``PUT /_simulator/instances``.

Pure functions: a record and a patch in, a record out. Giving addresses to what the patch leaves open is left to
``cloud``, which knows which ones are taken.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from tair_simulator.instances import Instance
from tair_simulator.mistakes import InputError, parse
from tair_simulator.transitions import Record, look, settle, with_endpoint

NESTED = ("endpoint", "maintenanceWindow", "refusals", "timing")


def create(instance_id: str, written: object, now: datetime) -> Record:
    """Return a new instance that is as ``written`` from ``now`` on; raise ``InputError`` with every mistake."""
    return Record(instance_id, parse(Instance, written), since=now)


def patch(record: Record, written: object, now: datetime) -> Record:
    """Return the record with the written fields changed at ``now``; raise ``InputError`` with every mistake.

    A change under way goes on, unless the patch sets the direct connection: that ends it.
    """
    if not isinstance(written, Mapping):
        raise InputError(["(top level): must be a JSON object"])
    touches_endpoint = not {"directConnection", "endpoint"}.isdisjoint(written)
    current = _frozen(record, now) if touches_endpoint else settle(record, now)
    fields = _merged(_own_fields(current, now), written)
    since = now if not {"status", "statusSeconds"}.isdisjoint(written) else record.since
    return Record(record.instance_id, parse(Instance, fields), since, current.change)


def describe(record: Record, now: datetime) -> dict[str, object]:
    """Return the instance as the control API shows it: its fields as they are at ``now``, and what is under way."""
    view = look(record, now)
    shown = with_endpoint(record.instance, view.endpoint)
    change = view.change
    return {
        "instanceId": record.instance_id,
        **shown.model_dump(mode="json", by_alias=True),
        "status": view.status,
        "freeIps": view.free_ips,
        "busy": view.busy,
        "change": change
        and {
            "kind": change.kind.value,
            "acceptedAt": change.accepted_at.astimezone(UTC).isoformat(),
            "settledAt": change.settled_at.astimezone(UTC).isoformat(),
        },
    }


def _frozen(record: Record, now: datetime) -> Record:
    instance = with_endpoint(record.instance, look(record, now).endpoint)
    return Record(record.instance_id, instance, record.since)


def _own_fields(record: Record, now: datetime) -> dict[str, object]:
    """Return the description without what is over: a status whose time has passed."""
    fields = record.instance.model_dump(mode="json", by_alias=True)
    own = look(Record(record.instance_id, record.instance, record.since), now)
    if own.status != record.instance.status:
        fields["status"] = own.status
        fields.pop("statusSeconds")
    return fields


def _merged(fields: dict[str, object], written: Mapping[str, object]) -> dict[str, object]:
    merged = {**fields, **written}
    for name in NESTED:
        before, after = fields.get(name), written.get(name)
        if isinstance(before, dict) and isinstance(after, Mapping):
            merged[name] = {**before, **after}
    if written.get("directConnection") is False and "endpoint" not in written:
        merged.pop("endpoint", None)
    if "status" in written and "statusSeconds" not in written:
        merged.pop("statusSeconds", None)
    return merged
