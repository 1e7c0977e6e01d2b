"""Label selectors that an API server takes, and others: one table for our own check and for a real API server."""

from typing import Final

VALID_SELECTORS: Final = (
    "shard=a",
    "shard==a",
    "shard = a",
    "shard!=a",
    "shard=",
    "shard",
    "!shard",
    "! shard",
    "shard in (a)",
    "shard in (a, b)",
    "shard notin (a,b)",
    "shard notin (a,b),tier=prod",
    " tier=prod , !shard ",
    "tair.alibabacloud.com/shard=a",
    "example.com/x.y_z-1 in (A_b.c-1)",
    "a" * 63 + "=" + "b" * 63,
)
INVALID_SELECTORS: Final = (
    ",",
    "shard=a,",
    "shard=a;tier=b",
    "shard=a b",
    "shard in a",
    "shard in (a",
    "shard in",
    "!shard=a",
    "=a",
    "-shard=a",
    "shard=-a",
    "shard=a-",
    "Example.com/shard=a",
    "example.com/=a",
    "a/b/c=d",
    "a" * 64 + "=b",
    "a=" + "b" * 64,
    "shard=\u00e4",
)
