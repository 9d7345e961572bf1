"""The HTTP page of a worker: ``/metrics`` for Prometheus, ``/healthz`` for whoever restarts it."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from consumer.errors import ConfigError
from consumer.operate.status import WorkerStatus
from lease_store.uninterrupted import uninterrupted

__all__ = ["serve"]

_log = logging.getLogger("leasehold.http")


@asynccontextmanager
async def serve(
    host: str, port: int, *, registry: CollectorRegistry, status: Callable[[], WorkerStatus]
) -> AsyncIterator[int]:
    """Serve both pages on the running loop while the context lasts; gives the port (another one where ``port`` is 0).

    ``/healthz`` answers 200 or 503 with JSON: worker_id, healthy, draining, shards_held, coordination, problems. It
    shares the loop with ``async def`` user code: where that blocks the loop, no answer comes, which a probe rightly
    takes for ill. Raises ConfigError where the address can't be listened on.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthz(request: web.Request) -> web.Response:
        now = status()
        body = {
            "worker_id": now.worker_id,
            "healthy": now.healthy,
            "draining": now.draining,
            "shards_held": len(now.shards),
            "coordination": asdict(now.coordination),
            "problems": list(now.problems),
        }
        return web.json_response(body, status=200 if now.healthy else 503)

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
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
