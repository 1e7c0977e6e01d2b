"""Whoever stands between an operator and a server, on an event loop in a thread of its own."""

import asyncio
import json
import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from tests.cluster.tenants import PATIENCE
from tests.stage import OperatorProcess


class Between(AbstractContextManager["Between"], ABC):
    """Listens at ``url`` while the context lasts."""

    def __init__(self) -> None:
        self.url = ""
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._is_serving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=type(self).__name__.lower())

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_serving.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    def lead(self, operator: OperatorProcess) -> OperatorProcess:
        """Let an operator that is not started yet take this way to the API server."""
        config = json.loads(operator.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = self._cluster(config["clusters"][0]["cluster"])
        operator.kubeconfig = operator.folder / "kubeconfig"
        operator.kubeconfig.write_text(json.dumps(config))
        return operator

    @abstractmethod
    def _cluster(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return what a kubeconfig says of this way, where it said ``known`` of the API server itself."""

    @abstractmethod
    async def _serve_until(self, stop: asyncio.Event) -> None:
        """Listen, call ``_serves``, and end once ``stop`` is set."""

    def _serves(self, url: str) -> None:
        self.url = url
        self._is_serving.set()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self._serve_until(self._stop)
