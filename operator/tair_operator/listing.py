"""What a LIST leaves of each resource: the bodies of a whole fleet at once would not fit into memory."""

from datetime import datetime, timedelta
from typing import NamedTuple, Self

from tair_operator.models import TairInstance
from tair_operator.ports import Key
from tair_operator.proposal import names_plan
from tair_operator.situation import NOTHING, RETRY_WITHOUT_RESYNC, Context, Policy, Situation, until_resync
from tair_operator.stance import Stance
from tair_operator.subject import is_held_as_wanted, key_of


class Listed(NamedTuple):
    """One resource of a LIST."""

    key: Key
    uid: str
    instance_id: str
    resync_seconds: int | None
    is_settled: bool
    """Whether nothing is left to do for it but to look for drift."""
    is_stalled: bool

    @classmethod
    def of(cls, resource: TairInstance, now: datetime) -> Self:
        """Return what has to be known of a resource after its page."""
        metadata, spec = resource.metadata, resource.spec
        conditions = {condition.type for condition in resource.status.conditions if condition.status == "True"}
        s = Situation(resource, None, Context(), now)
        return cls(
            key=key_of(resource),
            uid=metadata.uid,
            instance_id=spec.instance_id,
            resync_seconds=spec.resync_seconds,
            is_settled=(
                s.is_current
                and bool(conditions & {Stance.READY, Stance.SUSPENDED, Stance.STALLED})
                and s.in_doubt is None
                and not s.is_requested
                and not names_plan(resource)
                and is_held_as_wanted(resource)
            ),
            is_stalled=Stance.STALLED in conditions,
        )

    def until_due(self, policy: Policy, now: datetime) -> timedelta | None:
        """Return the time until the resource needs a pass; None when only an event will ask for one.

        What is settled waits for its own resync instant, so that a restart costs nothing.
        """
        if not self.is_settled:
            return NOTHING
        left = until_resync(self.uid, policy.resync_of(self.resync_seconds), now)
        return left or RETRY_WITHOUT_RESYNC if self.is_stalled else left
