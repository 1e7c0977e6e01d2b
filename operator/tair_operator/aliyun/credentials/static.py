"""AccessKeys that somebody put into variables or files."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from tair_operator.aliyun.credentials.cache import Cache, Fetched
from tair_operator.aliyun.credentials.keys import Credentials, parse_keys, trouble
from tair_operator.aliyun.errors import CREDENTIALS_MISSING

CACHE_AGE = timedelta(minutes=1)
"""How long files are not read again. kubelet takes about as long to bring a changed Secret to them."""
FILE_MAX = 16_384


class EnvironmentCredentials:
    """Reads ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET and ALIBABA_CLOUD_SECURITY_TOKEN."""

    expires_at = None

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    async def get(self) -> Credentials:
        """Return what the variables say now."""
        return parse_keys(
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

    expires_at = None

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._cache = Cache(self._fetch, clock)

    async def get(self) -> Credentials:
        """Return what the files say, or said less than a minute ago."""
        return await self._cache.get()

    def invalidate(self) -> None:
        """Read the files again next time."""
        self._cache.invalidate()

    async def _fetch(self) -> Fetched[Credentials]:
        # Old values do not outlast the minute: whoever deletes the files wants them not to be used.
        ends_at = self._clock() + CACHE_AGE.total_seconds()
        return Fetched(await asyncio.to_thread(self._read), ends_at, ends_at)

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
                    texts[name] = read_text(file)
        except OSError as error:
            message = f"the files in {self._directory} cannot be read: {error.strerror}"
            raise trouble(CREDENTIALS_MISSING, message) from error
        return parse_keys(texts, names, f"file {self._directory}/{{}}")


def read_text(file: Path) -> str:
    """Read a small file without its last line break; of a large one, more than is ever valid.

    Raises:
        OSError: it cannot be read.

    """
    with file.open("rb") as stream:
        return stream.read(FILE_MAX + 1).decode(errors="replace").rstrip("\r\n")
