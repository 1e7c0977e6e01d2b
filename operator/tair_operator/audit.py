"""The audit lines: two for each mutating call, when it leaves (Started) and what became of it, with who wanted it.

Both are logged before the answer is stored, so they exist even where the status
never got to know; a line Started without another one is a call that nobody lived
to record. The logger has a name of its own, for whoever ships it elsewhere.
"""

import logging

from tair_operator.models import Operation, TairInstance

logger = logging.getLogger("tair_operator.audit")


def record(resource: TairInstance, operation: Operation) -> None:
    """Log a call as it stands: about to leave, answered, unanswered, or not sent after all."""
    logger.info("%s: %s", operation.action, operation.outcome, extra=facts(resource) | _call(resource, operation))


def facts(resource: TairInstance) -> dict[str, object]:
    """Return what every line about a resource says."""
    metadata = resource.metadata
    return {
        "resource": f"{metadata.namespace}/{metadata.name}",
        "uid": metadata.uid,
        "generation": metadata.generation,
        "instance_id": resource.spec.instance_id,
    }


def spec_manager(resource: TairInstance) -> str | None:
    """Return the field manager of spec.directConnection whose entry the API server changed last."""
    owners = [
        entry
        for entry in resource.metadata.managed_fields
        if not entry.get("subresource") and "f:directConnection" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    latest = max(owners, key=lambda entry: str(entry.get("time", "")), default={})
    manager = latest.get("manager")
    return None if manager is None else str(manager)


def _call(resource: TairInstance, operation: Operation) -> dict[str, object]:
    return {
        "region_id": resource.spec.region_id,
        "action": operation.action,
        "operation_id": operation.id,
        "attempt": operation.attempt,
        "outcome": operation.outcome,
        "request_id": operation.request_id,
        "http_status": operation.http_status,
        "code": operation.code,
        "field_manager": spec_manager(resource),
    }
