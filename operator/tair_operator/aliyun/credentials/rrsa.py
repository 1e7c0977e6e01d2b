"""The RAM role of the operator's own pod: RRSA, as ACK's pod identity webhook sets it up.

The webhook mounts a token of the pod's ServiceAccount and says in variables where
it is and which role it is good for. kubelet replaces the token while the pod
runs, so it is read for each exchange.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tair_operator.aliyun.credentials.keys import Credentials, check_arn, trouble
from tair_operator.aliyun.credentials.static import read_text
from tair_operator.aliyun.credentials.sts import Role, Sts
from tair_operator.aliyun.errors import CREDENTIALS_MALFORMED, CREDENTIALS_MISSING
from tair_operator.aliyun.redaction import redact
from tair_operator.settings import PROVIDER_ARN, ROLE_ARN

ROLE_VARIABLE = "ALIBABA_CLOUD_ROLE_ARN"
PROVIDER_VARIABLE = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN"
TOKEN_VARIABLE = "ALIBABA_CLOUD_OIDC_TOKEN_FILE"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class PodRole:
    """Exchanges the token that is mounted into this pod. ``provider_arn`` comes before what the variable says."""

    environ: Mapping[str, str]
    sts: Sts
    session_name: str
    provider_arn: str | None = None

    async def fetch(self) -> Credentials:
        """Return fresh credentials of the role.

        Raises:
            CloudError: something is not set up, or STS refused.

        """
        known = {name: self.environ.get(name, "") for name in (ROLE_VARIABLE, PROVIDER_VARIABLE, TOKEN_VARIABLE)}
        if self.provider_arn is not None:
            known[PROVIDER_VARIABLE] = self.provider_arn
        missing = [f"environment variable {name}" for name, value in known.items() if not value]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            message = (
                f"{' and '.join(missing)} {verb} missing or empty: label the namespace for ACK's pod identity webhook, "
                "annotate the operator's ServiceAccount, and start the pod again"
            )
            raise trouble(CREDENTIALS_MISSING, message)
        role = check_arn(known[ROLE_VARIABLE], ROLE_ARN, f"environment variable {ROLE_VARIABLE}")
        provider = check_arn(known[PROVIDER_VARIABLE], PROVIDER_ARN, f"environment variable {PROVIDER_VARIABLE}")
        token = await asyncio.to_thread(_read_token, Path(known[TOKEN_VARIABLE]))
        return await self.sts.assume_role_with_oidc(token, provider, Role(role, self.session_name), _subject_of(token))


def _read_token(file: Path) -> str:
    try:
        token = read_text(file).strip()
    except OSError as error:
        message = f"the token file that {TOKEN_VARIABLE} names cannot be read: {error.strerror}"
        raise trouble(CREDENTIALS_MISSING, message) from error
    if not token:
        raise trouble(CREDENTIALS_MISSING, f"the token file that {TOKEN_VARIABLE} names is empty")
    if any(character.isspace() for character in token) or not token.isascii() or token.count(".") != 2:  # noqa: PLR2004
        raise trouble(CREDENTIALS_MALFORMED, f"the token file that {TOKEN_VARIABLE} names holds no token")
    return token


def _subject_of(token: str) -> str:
    """Return whom a token is about. Nothing is verified: it is for a message."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return redact(str(claims["sub"]), limit=256)
    except (ValueError, LookupError, TypeError):
        return "system:serviceaccount:<namespace>:<name> of the operator"
