"""A task metadata endpoint as ECS has one, whose container is as busy as a test says."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any

from aiohttp import web

from consumer.clock import Clock
from tests.integration.ledger import CLOCK

__all__ = ["EcsMetadata"]

_NANOS = 1e9


class EcsMetadata:
    """Listens on a loopback port while it is entered; ``percent`` of the one CPU there is in use, from now on."""

    def __init__(self, percent: float, clock: Clock = CLOCK) -> None:
        self._percent = percent
        self._clock = clock
        self._used = 0.0
        self._at = clock.monotonic()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """For ECS_CONTAINER_METADATA_URI_V4."""
        if self._runner is None:
            raise RuntimeError("The metadata endpoint is not running: enter it with 'async with' first.")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/v4"

    def be_busy(self, percent: float) -> None:
        """Use so much of the CPU from now on."""
        self._go_on()
        self._percent = percent

    def _go_on(self) -> None:
        now = self._clock.monotonic()
        self._used += (now - self._at) * self._percent / 100
        self._at = now

    async def __aenter__(self) -> EcsMetadata:
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self._go_on()
        container = {"DockerId": "one", "Limits": {"CPU": 0}}
        cpu = {
            "cpu_usage": {"total_usage": round(self._used * _NANOS)},
            "system_cpu_usage": round(self._at * _NANOS),
            "online_cpus": 1,
        }
        replies: dict[str, Any] = {
            "/v4": container,
            "/v4/task": {"Limits": {"CPU": 1}, "Containers": [container]},
            "/v4/stats": {"cpu_stats": cpu},
        }
        return web.Response(text=json.dumps(replies[request.path]), content_type="application/json")
