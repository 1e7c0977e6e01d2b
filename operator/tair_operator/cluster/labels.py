"""The labels of namespaces, which an access list may select by, remembered for a moment."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tair_operator.ports import ForbiddenError, Namespace

logger = logging.getLogger(__name__)

CACHE_SECONDS = 15.0
"""How long a label that was taken away may still count."""


@dataclass
class NamespaceLabels:
    """``read`` reads one namespace; ``clock`` returns seconds that never go back."""

    read: Callable[[str], Awaitable[Namespace | None]]
    clock: Callable[[], float]
    _known: dict[str, tuple[float, Mapping[str, str] | None]] = field(default_factory=dict)

    async def of(self, namespace: str) -> Mapping[str, str] | None:
        """Return the labels of a namespace; None where it is gone or may not be read.

        Raises:
            ClusterUnavailableError: the API server did not answer.

        """
        now = self.clock()
        read_at, labels = self._known.get(namespace, (float("-inf"), None))
        if now - read_at < CACHE_SECONDS:
            return labels
        try:
            found = await self.read(namespace)
        except ForbiddenError as error:
            logger.warning("A rule of the access list selects namespaces by label, but %s", error)
            found = None
        labels = None if found is None else found.labels
        # Whoever is not asked about any more is not remembered for ever.
        self._known = {name: entry for name, entry in self._known.items() if now - entry[0] < CACHE_SECONDS}
        self._known[namespace] = (now, labels)
        return labels
