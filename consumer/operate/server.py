"""The HTTP page of a worker, or of several: ``/metrics`` for Prometheus, ``/healthz`` for whoever restarts it."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from consumer.errors import ConfigError
from consumer.operate.status import WorkerStatus
from lease_store.uninterrupted import uninterrupted

__all__ = ["Health", "listen", "serve"]

_log = logging.getLogger("leasehold.http")


@dataclass(frozen=True, slots=True)
class Health:
    """What ``/healthz`` answers: ``body`` as JSON with status 200, or 503 where not ``healthy``."""

    healthy: bool
    body: Mapping[str, Any]


@asynccontextmanager
async def serve(
    host: str, port: int, *, registry: CollectorRegistry, status: Callable[[], WorkerStatus]
) -> AsyncIterator[int]:
    """Serve a worker's two pages on the running loop while the context lasts; gives the port, as ``listen``.

    ``/healthz`` tells worker_id, healthy, draining, shards_held, coordination, problems. It shares the loop with
    ``async def`` user code: where that blocks the loop, no answer comes, which a probe rightly takes for ill.
    """

    async def metrics() -> CollectorRegistry:
        return registry

    async def health() -> Health:
        now = status()
        body = {
            "worker_id": now.worker_id,
            "healthy": now.healthy,
            "draining": now.draining,
            "shards_held": len(now.shards),
            "coordination": asdict(now.coordination),
            "problems": list(now.problems),
        }
        return Health(now.healthy, body)

    async with listen(host, port, metrics=metrics, health=health) as bound:
        yield bound


@asynccontextmanager
async def listen(
    host: str,
    port: int,
    *,
    metrics: Callable[[], Awaitable[CollectorRegistry]],
    health: Callable[[], Awaitable[Health]],
) -> AsyncIterator[int]:
    """Serve both pages on the running loop while the context lasts; gives the port (another one where it is 0).

    Raises ConfigError where the address can't be listened on.
    """

    async def show_metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(await metrics()), headers={"Content-Type": content_type})

    async def show_health(request: web.Request) -> web.Response:
        now = await health()
        return web.json_response(now.body, status=200 if now.healthy else 503)

    application = web.Application()
    application.add_routes([web.get("/metrics", show_metrics), web.get("/healthz", show_health)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await uninterrupted(web.TCPSite(runner, host, port).start())
        except OSError as error:
            raise ConfigError(_refused(host, port, error)) from error
        bound: int = runner.addresses[0][1]
        _log.info("Serving /metrics and /healthz on port %d of %s.", bound, host)
        yield bound
    finally:
        await uninterrupted(runner.cleanup())


def _refused(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            why = "the port is in use; choose another, or stop what listens there."
        case errno.EACCES:
            why = "this user may not listen on that port; choose one above 1023."
        case _:
            why = f"{error.strerror or error}; HOST must be an address of this machine."
    return f"--http {host}:{port}: can't listen there, {why}"
