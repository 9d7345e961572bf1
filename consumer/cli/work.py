"""A worker of ``leasehold run``: from checked settings to its end, and to an exit code."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Final

from consumer.cli.settings import HttpAddress, Settings
from consumer.cli.signals import StopSignals
from consumer.clock import Clock, SystemClock
from consumer.exit_codes import BATCH_TIMED_OUT, CLEAN, DRAIN_TIMED_OUT
from consumer.operate.status import (
    WorkerStatus,
    least_retention_left_seconds,
    longest_failure_seconds,
    render,
    worst_lag_seconds,
)
from consumer.operate.supervisor.lifeline import AtWork, Lifeline
from consumer.processor import ProcessorFactory
from consumer.streams.address import Address
from consumer.streams.named import open_source
from consumer.worker import Outcome, Worker
from lease_store.dynamodb import DynamoDBLeaseStore

if TYPE_CHECKING:
    from consumer.operate.prometheus import PrometheusHook

__all__ = ["tell_status", "tune_gc", "work"]

_log = logging.getLogger("leasehold.cli")

_STATUS_LINE_SECONDS: Final = 60.0
_CODES: Final = {
    Outcome.CLEAN: CLEAN,
    Outcome.DRAIN_TIMED_OUT: DRAIN_TIMED_OUT,
    Outcome.BATCH_TIMED_OUT: BATCH_TIMED_OUT,
}
# New objects before a look at the youngest, and looks at each generation before one at the next: 700, 10 and 10 look
# at every page's records again and again while they are being made.
_TUNED_GC: Final = (50_000, 20, 100)


def work(settings: Settings, address: Address, factory: ProcessorFactory, lifeline: Lifeline | None = None) -> int:
    """Run a worker until it is told to stop, by a signal or through ``lifeline``; the exit code."""
    config = settings.config()
    store = DynamoDBLeaseStore(config.table, create_table=config.create_table, application=config.app)
    source = open_source(address.text)
    http: HttpAddress | None = settings.get("http")
    hook = None if http is None else _metrics()
    worker = Worker(source, store, factory, config, hooks=() if hook is None else (hook,))
    page: AbstractAsyncContextManager[int | None] = nullcontext()
    if hook is not None and http is not None:
        hook.follow(
            lambda: worst_lag_seconds(worker.status()),
            failing_now=lambda: longest_failure_seconds(worker.status()),
            retention_now=lambda: least_retention_left_seconds(worker.status()),
            data_path=lambda: source.data_path,
        )
        page = _page(http, hook, worker)
    signals = StopSignals(
        worker.stop,
        drain_timeout_seconds=config.drain_timeout_seconds,
        failover_seconds=config.failover_seconds,
        unfinished=lambda: tuple(shard.shard_id for shard in worker.status().shards),
    )
    # Around the loop, not inside: a task that swallows its cancellation must not outlive the drain's deadline either.
    with signals:
        if lifeline is not None:
            lifeline.follow(signals.ask)
        return asyncio.run(_serve_and_run(worker, page, lifeline, signals, tunes_gc=settings.get("tune_gc")))


def _metrics() -> PrometheusHook:
    """Counted for whoever asks the page only: without one, nothing is loaded for them or kept."""
    from consumer.operate.prometheus import PrometheusHook

    return PrometheusHook()


def _page(http: HttpAddress, hook: PrometheusHook, worker: Worker) -> AbstractAsyncContextManager[int]:
    from consumer.operate.server import serve

    return serve(http.host, http.port, registry=hook.registry, status=worker.status)


async def _serve_and_run(
    worker: Worker,
    page: AbstractAsyncContextManager[int | None],
    lifeline: Lifeline | None,
    signals: StopSignals,
    *,
    tunes_gc: bool,
) -> int:
    """The exit code."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(page)
        await stack.enter_async_context(worker)
        if lifeline is not None:
            lifeline.tell(AtWork(worker.worker_id, port))
        if tunes_gc:
            tune_gc()
        line = asyncio.create_task(tell_status(worker.status, SystemClock()), name="status-line")
        stack.callback(line.cancel)
        code = _CODES[await worker.run()]
        if code == BATCH_TIMED_OUT:
            signals.end_soon(code)
        return code


def tune_gc() -> None:
    """Freeze what start-up has made, which stays anyway, and have the collector look less often at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_TUNED_GC)
    _log.info("Garbage collection is tuned: %d objects frozen, thresholds %s.", gc.get_freeze_count(), _TUNED_GC)


async def tell_status(status: Callable[[], WorkerStatus], clock: Clock) -> None:
    """A line a minute, for ever; cancelled when the worker ends."""
    before = 0
    while True:
        await clock.sleep(_STATUS_LINE_SECONDS)
        now = status()
        _log.info(render(now, now=clock.wall(), records_before=before, period_seconds=_STATUS_LINE_SECONDS))
        before = now.records_processed
