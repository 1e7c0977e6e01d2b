"""What credentials and permissions are made of: Secrets, ServiceAccounts and their tokens, namespaces.

Nothing here is watched or listed. Each object is read by its name, when it is
needed, so that a Role for a few names is permission enough.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from tair_operator.cluster.server import FORBIDDEN, NOT_FOUND, Api, expect
from tair_operator.ports import ForbiddenError, IssuedToken, Namespace


@dataclass
class Identities:
    """Reads what Kubernetes knows about who may do what."""

    api: Api

    async def read_namespace(self, name: str) -> Namespace | None:
        """Read a namespace; None when it is gone."""
        code, body = await self.api.request("GET", f"/api/v1/namespaces/{quote(name)}")
        if code == NOT_FOUND:
            return None
        if code == FORBIDDEN:
            message = f"namespace {name} may not be read: grant the operator's ServiceAccount get on namespaces"
            raise ForbiddenError(message)
        metadata = expect(code, body).get("metadata") or {}
        is_terminating = metadata.get("deletionTimestamp") is not None
        return Namespace(labels=metadata.get("labels") or {}, is_terminating=is_terminating)

    async def read_secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Read the data of a Secret; None when there is none. A value that is not base64 is left out."""
        code, body = await self.api.request("GET", f"/api/v1/namespaces/{quote(namespace)}/secrets/{quote(name)}")
        if code == NOT_FOUND:
            return None
        if code == FORBIDDEN:
            message = (
                f"Secret {namespace}/{name} may not be read: bind a Role in {namespace} with get on this Secret to "
                "the operator's ServiceAccount"
            )
            raise ForbiddenError(message)
        data = expect(code, body).get("data") or {}
        return {key: decoded for key, value in data.items() if (decoded := _decoded(value)) is not None}

    async def read_service_account_annotations(self, namespace: str, name: str) -> dict[str, str] | None:
        """Read the annotations of a ServiceAccount; None when there is none."""
        path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(name)}"
        code, body = await self.api.request("GET", path)
        if code == NOT_FOUND:
            return None
        if code == FORBIDDEN:
            message = (
                f"ServiceAccount {namespace}/{name} may not be read: bind a Role in {namespace} with get on this "
                "ServiceAccount to the operator's ServiceAccount"
            )
            raise ForbiddenError(message)
        annotations = (expect(code, body).get("metadata") or {}).get("annotations") or {}
        return {str(key): str(value) for key, value in annotations.items()}

    async def request_token(self, namespace: str, name: str, audience: str, seconds: int) -> IssuedToken | None:
        """Ask for a token of a ServiceAccount; None when there is no such ServiceAccount."""
        path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(name)}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": seconds},
        }
        code, body = await self.api.request("POST", path, request)
        if code == NOT_FOUND:
            return None
        if code == FORBIDDEN:
            message = (
                f"no token of ServiceAccount {namespace}/{name} may be requested: bind a Role in {namespace} with "
                "create on serviceaccounts/token for this name to the operator's ServiceAccount"
            )
            raise ForbiddenError(message)
        status = expect(code, body).get("status") or {}
        return IssuedToken(str(status.get("token", "")), _time(status.get("expirationTimestamp")))


def _decoded(value: object) -> bytes | None:
    try:
        return b64decode(str(value), validate=True)
    except (Base64Error, ValueError):
        return None


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
