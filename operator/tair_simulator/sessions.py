"""Temporary credentials for roles, as STS and the metadata server give them out.

A session is an access key like those of a seed: it is listed, changed and removed by the control API in the same way.
"""

import secrets
import string
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from tair_simulator.access_keys import AccessKey
from tair_simulator.cloud import Cloud
from tair_simulator.roles import account_of, name_of

MARK = "STS."
# A long test forgets the oldest, or it would run out of memory.
LIMIT = 10_000
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Session:
    """New credentials, secrets included: for the reply, and for nothing else."""

    access_key_id: str
    access_key_secret: str
    security_token: str
    issued_at: datetime
    expires_at: datetime

    def to_json(self) -> dict[str, str]:
        """Return the credentials as replies spell them."""
        return {
            "AccessKeyId": self.access_key_id,
            "AccessKeySecret": self.access_key_secret,
            "SecurityToken": self.security_token,
            "Expiration": as_text(self.expires_at),
        }


def open_session(cloud: Cloud, role: str, session_name: str, seconds: int) -> Session:
    """Issue credentials for a role that exists; its own ``sessionSeconds`` count, if it has any."""
    issued_at = cloud.clock().replace(microsecond=0)
    described = cloud.directory.roles[role]
    lifetime = timedelta(seconds=described.session_seconds or seconds)
    session = Session(f"{MARK}{_random(24)}", _random(44), f"CAIS{_random(160)}", issued_at, issued_at + lifetime)
    cloud.keys[session.access_key_id] = AccessKey(
        secret=SecretStr(session.access_key_secret),
        security_token=SecretStr(session.security_token),
        expiration=session.expires_at,
        account_id=account_of(role),
        role=role,
        denied_code=described.denied_code,
        principal_type="AssumedRoleUser",
        display_name=f"{name_of(role)}:{session_name}",
    )
    for name in [name for name in cloud.keys if name.startswith(MARK)][:-LIMIT]:
        del cloud.keys[name]
    return session


def as_text(moment: datetime) -> str:
    """Return a moment as STS and the metadata server write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
