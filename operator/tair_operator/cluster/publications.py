"""The Secret and the ConfigMap that a resource publishes its endpoint in.

Server-side apply under a field manager of our own, so that labels and keys of
others stay. An object is ours when it names this very resource as its owner in
an annotation with its uid; any other one is never touched.
"""

from dataclasses import dataclass

from tair_operator.cluster.server import Api


@dataclass
class Publications:
    """Publishes endpoints and withdraws them."""

    api: Api
