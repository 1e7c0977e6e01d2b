"""The audit line: one for each mutating call, with who wanted it and what became of it.

It is logged before the answer is stored, so it exists even where the status
never got to know. The logger has a name of its own, for whoever ships it elsewhere.
"""

import logging

from tair_operator.models import Operation, TairInstance

logger = logging.getLogger("tair_operator.audit")


def record(resource: TairInstance, operation: Operation) -> None:
    """Log a call that was answered, or that got no answer."""
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
    """Return who last set spec.directConnection, by the field manager that the API server noted."""
    owners = [
        entry
        for entry in resource.metadata.managed_fields
        if not entry.get("subresource") and "f:directConnection" in entry.get("fieldsV1", {}).get("f:spec", {})
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
