"""``/metrics`` and ``/healthz`` of all processes on one port: asked of each on its own page, and put together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar, get_args

import aiohttp
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector

from consumer.operate.meters import MetricDoc
from consumer.operate.server import Health
from consumer.operate.supervisor.merging import Tally, parsed, rules
from consumer.operate.supervisor.supervisor import ProcessState, ProcessView, Supervisor

__all__ = ["DESCRIBED", "Fetch", "GroupPage", "fetching"]

T = TypeVar("T")

# Below Prometheus's own time-out of 10 s, and a load balancer's of 5 s.
ANSWER_SECONDS: Final = 4.0
_LARGEST_PAGE_BYTES: Final = 8 * 1024 * 1024
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
_STATES: Final = (*get_args(ProcessState), "silent")

DESCRIBED: Final = (
    MetricDoc(
        "leasehold_processes",
        "gauge",
        ("state",),
        "Worker processes of `--processes`: starting, at_work, restarting (died, and waits for its next start), "
        "draining, ended, or silent (at work, but its page does not answer).",
    ),
    MetricDoc(
        "leasehold_process_restarts_total",
        "counter",
        (),
        "Worker processes of `--processes` that were started again.",
    ),
)

Fetch = Callable[[int, str], Awaitable[str]]
"""The text of the page at a port of loopback and a path. Raises OSError, also where no answer comes in time."""


@asynccontextmanager
async def fetching(answer_seconds: float = ANSWER_SECONDS) -> AsyncIterator[Fetch]:
    """Fetches over HTTP while the context lasts, past every proxy."""
    timeout = aiohttp.ClientTimeout(total=answer_seconds)
    headers = {"Accept": f"{_OPENMETRICS}, application/json"}
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False, headers=headers) as session:

        async def fetch(port: int, path: str) -> str:
            try:
                async with session.get(f"http://127.0.0.1:{port}{path}", allow_redirects=False) as reply:
                    body = bytearray()
                    async for part in reply.content.iter_any():
                        body += part
                        if len(body) > _LARGEST_PAGE_BYTES:
                            raise OSError(f"its page is longer than {_LARGEST_PAGE_BYTES} bytes")
                    return body.decode()
            except TimeoutError as error:
                raise OSError(f"no answer within {answer_seconds:g} s") from error
            except (aiohttp.ClientError, UnicodeDecodeError) as error:
                raise OSError(str(error)) from error

        yield fetch


class _Shared(Generic[T]):
    """One call at a time, however many want its result: probes that pile up ask each process once."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._running: asyncio.Future[T] | None = None

    async def result(self) -> T:
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._call())
        return await asyncio.shield(self._running)


class GroupPage:
    """What a supervisor's page shows. A process is asked at each request, and given ``fetch``'s time to answer."""

    def __init__(self, supervisor: Supervisor, fetch: Fetch) -> None:
        self._supervisor = supervisor
        self._fetch = fetch
        self._tally = Tally(rules())
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self.metrics = _Shared(self._metrics).result
        self.health = _Shared(self._health).result

    async def _metrics(self) -> CollectorRegistry:
        views = self._supervisor.view()
        answers = await asyncio.gather(*(self._page_of(view) for view in views))
        told = {view.number: (view.start, page) for view, page in zip(views, answers, strict=True) if page is not None}
        own = [*self._process.collect(), *self._own(views, told)]
        registry = CollectorRegistry()
        registry.register(_Collected(self._tally.merged(told, own)))
        return registry

    async def _page_of(self, view: ProcessView) -> list[Metric] | None:
        if view.port is None:
            return None
        try:
            return parsed(await self._fetch(view.port, "/metrics"))
        except (OSError, ValueError):  # what is silent is counted as such, and /healthz says why
            return None

    def _own(self, views: Sequence[ProcessView], told: Iterable[int]) -> list[Metric]:
        counts = dict.fromkeys(_STATES, 0)
        for view in views:
            is_silent = view.state == "at_work" and view.number not in told
            counts["silent" if is_silent else view.state] += 1
        processes, restarts = DESCRIBED
        states = GaugeMetricFamily(processes.name, processes.doc, labels=processes.labels)
        for state, count in counts.items():
            states.add_metric([state], count)
        return [states, CounterMetricFamily(restarts.name, restarts.doc, value=self._supervisor.restarts)]

    async def _health(self) -> Health:
        views = self._supervisor.view()
        processes = await asyncio.gather(*(self._health_of(view) for view in views))
        problems = [
            f"Process {each['process']}{problem}" for each in processes for problem in _told_as_of_process(each)
        ]
        body = {
            "healthy": not problems,
            "draining": self._supervisor.is_draining,
            "shards_held": sum(each.get("shards_held", 0) for each in processes),
            "processes": processes,
            "problems": problems,
        }
        return Health(not problems, body)

    async def _health_of(self, view: ProcessView) -> dict[str, Any]:
        known = {
            "process": view.number,
            "state": view.state,
            "pid": view.pid,
            "starts": view.start,
            "worker_id": view.worker_id,
        }
        reason = view.reason
        if view.port is not None:
            try:
                return {**known, **json.loads(await self._fetch(view.port, "/healthz"))}
            except (OSError, ValueError, TypeError) as error:
                reason = f"does not answer: {error}"
        if self._supervisor.is_draining:  # its page ends before it does, and the drain has its own deadline
            return {**known, "healthy": True, "problems": []}
        return {**known, "healthy": False, "reason": reason, "problems": []}


def _told_as_of_process(health: dict[str, Any]) -> list[str]:
    """What follows the process's name in the list of all problems."""
    reason = [f" {health['reason']}."] if "reason" in health else []
    return [*reason, *(f": {problem}" for problem in health["problems"])]


class _Collected:
    """Families as a registry collects them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
