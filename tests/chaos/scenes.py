"""What the tests here begin with: a stage with TLS on every way, operators on it, and what they have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from tests.cluster.tenants import NUMBERS, Tenant, make_tenant
from tests.cluster.watching import Judge
from tests.controlplane import ControlPlane
from tests.integration.simulator_tls import write_pair
from tests.stage import OperatorProcess, Stage

SETTLE: Final = 5.0
SETTINGS: Final = {
    "TAIR_OPERATOR_SETTLE_SECONDS": f"{SETTLE:.0f}",
    "TAIR_OPERATOR_STALL_GRACE_SECONDS": "2",
    "TAIR_OPERATOR_RESYNC_SECONDS": "3600",
    "TAIR_OPERATOR_CALLS_PER_SECOND": "100",
}


@contextmanager
def tls_stage(plane: ControlPlane) -> Iterator[Stage]:
    """Have a stage whose simulated cloud speaks TLS, with a certificate that the operators verify."""
    stage = Stage(plane)
    stage.simulator.tls = write_pair(stage.folder, "cloud")
    stage.settings = {
        "TAIR_OPERATOR_CA_FILE": str(stage.simulator.tls[0]),
        "TAIR_OPERATOR_ALLOW_HTTP": "false",
    }
    with stage:
        yield stage


def new_operator(stage: Stage, **settings: str) -> OperatorProcess:
    """Return an operator that is not started yet."""
    return stage.operator(f"attacked-{next(NUMBERS)}", **(SETTINGS | settings))


def new_tenant(stage: Stage, judge: Judge) -> Tenant:
    """Return a tenant with an endpoint, whose statuses are judged."""
    tenant = make_tenant(stage)
    judge.follow(tenant.namespace)
    return tenant


def outcome(resource: dict[str, Any]) -> str | None:
    """Return what became of the last operation, as far as status says."""
    found: str | None = resource.get("status", {}).get("operation", {}).get("outcome")
    return found


def moment(stamp: str) -> datetime:
    """Return the time that a stamp of Kubernetes or of the ledger tells."""
    return datetime.fromisoformat(stamp)


def ask_again(tenant: Tenant, stamp: str) -> None:
    """Ask for a pass by annotation."""
    words = f"tair.alibabacloud.com/reconcile-requested-at={stamp}"
    tenant.stage.plane.kubectl("-n", tenant.namespace, "annotate", "--overwrite", "tair", tenant.name, words)
