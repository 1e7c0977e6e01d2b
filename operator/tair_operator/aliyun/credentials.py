"""Where the AccessKey comes from.

Every source answers ``get`` with complete, plausible credentials or with a
``CloudError`` that says which variable or file to mend; no value is ever part of
a message. The names of variables and files are Alibaba Cloud's own.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from tair_operator.aliyun.errors import CREDENTIALS_MALFORMED, CREDENTIALS_MISSING, classify
from tair_operator.ports import CloudError

CACHE_AGE = timedelta(minutes=1)
"""How long files are not read again. kubelet takes about as long to bring a changed Secret to them."""

_LENGTH_MAX = 16_384
_PLACEHOLDER = re.compile(
    r"<.*>|\$\{.*\}|\{\{.*\}\}|(your|my)[-_]?(access|security|secret).*|change[-_]?me.*|replace[-_]?me.*|placeholder"
    r"|x+|\*+|\.+|todo|none|null",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AccessKey; with a security token, a temporary one."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What must never be shown."""
        return self.access_key_secret, self.security_token

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id[:4]}***)"


class CredentialsProvider(Protocol):
    """A source of credentials."""

    async def get(self) -> Credentials:
        """Return the credentials to sign with now.

        Raises:
            CloudError: with ``sent`` False; there are none, or they cannot be right.

        """

    def invalidate(self) -> None:
        """Read again next time: the cloud refused what ``get`` returned last."""


class EnvironmentCredentials:
    """Reads ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET and ALIBABA_CLOUD_SECURITY_TOKEN."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    async def get(self) -> Credentials:
        """Return what the variables say now."""
        return _parse(
            self._environ,
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_SECURITY_TOKEN"),
            "environment variable {}",
        )

    def invalidate(self) -> None:
        """Do nothing: nothing is kept."""


class FileCredentials:
    """Reads the files accessKeyId, accessKeySecret and, if it is there, securityToken, as mounted from a Secret.

    ``clock`` returns seconds that never go back.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._known: Credentials | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def get(self) -> Credentials:
        """Return what the files say, or said less than a minute ago."""
        async with self._reading:
            if self._known is None or self._clock() - self._read_at > CACHE_AGE.total_seconds():
                # First forget: whoever deletes the files wants them not to be used.
                self._known = None
                read_at = self._clock()
                self._known = await asyncio.to_thread(self._read)
                self._read_at = read_at
            return self._known

    def invalidate(self) -> None:
        """Read the files again next time."""
        self._known = None

    def _read(self) -> Credentials:
        names = ("accessKeyId", "accessKeySecret", "securityToken")
        texts: dict[str, str] = {}
        try:
            # kubelet replaces all files at once by moving the link ..data: resolved once, all three belong together.
            directory = self._directory / "..data"
            directory = directory.resolve() if directory.exists() else self._directory
            for name in names:
                file = directory / name
                if file.exists():
                    with file.open("rb") as stream:
                        texts[name] = stream.read(_LENGTH_MAX + 1).decode(errors="replace").rstrip("\r\n")
        except OSError as error:
            message = f"the files in {self._directory} cannot be read: {error.strerror}"
            raise _trouble(CREDENTIALS_MISSING, message) from error
        return _parse(texts, names, f"file {self._directory}/{{}}")


def _parse(texts: Mapping[str, str], names: tuple[str, str, str], where: str) -> Credentials:
    id_name, secret_name, token_name = names
    missing = [where.format(name) for name in (id_name, secret_name) if not texts.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise _trouble(CREDENTIALS_MISSING, f"{' and '.join(missing)} {verb} missing or empty: put the AccessKey there")
    for name in names:
        mistake = _mistake_in(texts.get(name, ""))
        if mistake:
            raise _trouble(CREDENTIALS_MALFORMED, f"{where.format(name)} {mistake}: put the AccessKey there, as issued")
    return Credentials(texts[id_name], texts[secret_name], texts.get(token_name) or None)


def _mistake_in(value: str) -> str | None:
    """Say what is wrong with a value, without the value. An HTTP header could not carry the first three."""
    if any(character.isspace() for character in value):
        return "contains white space or a line break"
    if not (value.isascii() and value.isprintable()):
        return "contains characters that no AccessKey has"
    if len(value) > _LENGTH_MAX:
        return "is too long"
    if _PLACEHOLDER.fullmatch(value):
        return "still has a placeholder in it"
    return None


def _trouble(code: str, message: str) -> CloudError:
    row = classify(code, None)
    return CloudError(
        action="Credentials",
        code=code,
        message=message,
        error_class=row.error_class,
        effect=row.effect,
        reason=row.reason,
        sent=False,
    )
