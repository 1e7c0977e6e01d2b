"""The tokens of the metadata server, without which it gives out nothing."""

import secrets
from datetime import datetime, timedelta


class MetadataTokens:
    """The tokens that were given out and are still good."""

    def __init__(self) -> None:
        self._expirations: dict[str, datetime] = {}

    def issue(self, seconds: int, now: datetime) -> str:
        """Return a new token that is good for so long."""
        self._expirations = {token: end for token, end in self._expirations.items() if now < end}
        token = secrets.token_urlsafe(32)
        self._expirations[token] = now + timedelta(seconds=seconds)
        return token

    def is_good(self, token: str, now: datetime) -> bool:
        """Return whether this token was given out and has not expired."""
        return token in self._expirations and now < self._expirations[token]
