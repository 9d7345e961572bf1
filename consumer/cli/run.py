"""``leasehold run``: from flags to a running worker, and from its end to an exit code."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from consumer.cli import logs, show_config
from consumer.cli.processor_path import load_processor
from consumer.cli.settings import HttpAddress, Settings, resolve
from consumer.cli.signals import StopSignals
from consumer.clock import Clock, SystemClock
from consumer.errors import ConfigError
from consumer.operate.status import WorkerStatus, render, worst_lag_seconds

if TYPE_CHECKING:
    from consumer.operate.prometheus import PrometheusHook
    from consumer.processor import ProcessorFactory
    from consumer.streams.address import Address
    from consumer.worker import Worker

__all__ = ["run"]

_log = logging.getLogger("leasehold.cli")

_STATUS_LINE_SECONDS: Final = 60.0
_SHOW_CONFIG: Final = "LEASEHOLD_SHOW_CONFIG"


def run(arguments: argparse.Namespace) -> int:
    """Run a worker until it is told to stop; the exit code. Raises ConfigError with all its problems at once."""
    settings = resolve(vars(arguments), os.environ)
    logs.set_up(settings.get("log_level") or "info", settings.get("log_format") or "text")
    address, factory = _check(arguments.processor, settings)
    if arguments.show_config or os.environ.get(_SHOW_CONFIG, "").lower() not in ("", "0", "false", "no"):
        for line in show_config.report(arguments.processor, settings):
            print(line)
        return 0
    return _work(settings, address, factory)


def _check(processor: str | None, settings: Settings) -> tuple[Address, ProcessorFactory]:
    """The two values that are more than text, or ConfigError with all problems of these and of the settings."""
    from consumer.streams.address import parse_address

    problems = list(settings.problems)
    address, factory = None, None
    source = settings.get("source")
    try:
        address = parse_address(source) if source is not None else None
    except ConfigError as error:
        origin = settings.values["source"].origin
        problems += [f"{origin}: {problem.removeprefix('--source: ')}" for problem in error.problems]
    try:
        factory = load_processor(processor or "")
    except ConfigError as error:
        problems += error.problems
    problems += _at_odds(settings, address, SystemClock())
    if problems or address is None or factory is None:
        raise ConfigError(problems)
    return address, factory


def _at_odds(settings: Settings, address: Address | None, clock: Clock) -> list[str]:
    """What only the whole command can see: settings that contradict the source or the present."""
    found = []
    table = settings.get("lease_table") or settings.get("app")
    if address is not None and address.service == "dynamodb" and address.region is None and address.name == table:
        found.append(
            f"{settings.values['lease_table'].origin if settings.get('lease_table') else '--app'} {table}: the lease "
            "table would be the table whose stream is read; give the leases a table of their own with --lease-table."
        )
    position = settings.get("initial_position")
    if position is not None and position.timestamp is not None and position.timestamp > clock.wall():
        found.append(
            f"{settings.values['initial_position'].origin} {position}: lies in the future; a stream can be read "
            "from the past, or from now on with LATEST."
        )
    return found


def _work(settings: Settings, address: Address, factory: ProcessorFactory) -> int:
    # Only here, when the input is known to be good: these take most of a second to import.
    from consumer.operate.prometheus import PrometheusHook
    from consumer.streams.named import open_source
    from consumer.worker import Outcome, Worker
    from lease_store.dynamodb import DynamoDBLeaseStore

    config = settings.config()
    hook = PrometheusHook()
    store = DynamoDBLeaseStore(config.table, create_table=config.create_table, application=config.app)
    worker = Worker(open_source(address.text), store, factory, config, hooks=(hook,))
    hook.follow(lambda: worst_lag_seconds(worker.status()))
    signals = StopSignals(
        worker.stop,
        drain_timeout_seconds=config.drain_timeout_seconds,
        failover_seconds=config.failover_seconds,
        unfinished=lambda: tuple(shard.shard_id for shard in worker.status().shards),
    )
    # Around the loop, not inside: a task that swallows its cancellation must not outlive the drain's deadline either.
    with signals:
        outcome = asyncio.run(_serve_and_run(worker, hook, settings.get("http")))
    return 4 if outcome is Outcome.DRAIN_TIMED_OUT else 0


async def _serve_and_run(worker: Worker, hook: PrometheusHook, http: HttpAddress | None) -> object:
    async with AsyncExitStack() as stack:
        if http is not None:
            from consumer.operate.server import serve

            await stack.enter_async_context(serve(http.host, http.port, registry=hook.registry, status=worker.status))
        await stack.enter_async_context(worker)
        line = asyncio.create_task(_tell_status(worker.status, SystemClock()), name="status-line")
        stack.callback(line.cancel)
        return await worker.run()


async def _tell_status(status: Callable[[], WorkerStatus], clock: Clock) -> None:
    """A line a minute, for ever; cancelled when the worker ends."""
    before = 0
    while True:
        await clock.sleep(_STATUS_LINE_SECONDS)
        now = status()
        _log.info(render(now, now=clock.wall(), records_before=before, period_seconds=_STATUS_LINE_SECONDS))
        before = now.records_processed
