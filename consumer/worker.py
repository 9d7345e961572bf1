"""A worker: one process's share of a stream; it starts, runs, drains and stops in the order of its methods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from contextvars import copy_context
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from consumer.clock import Clock, SystemClock
from consumer.config import WorkerConfig
from consumer.dead_letters.opening import checked, named_store
from consumer.dead_letters.store import DeadLetterStore
from consumer.delivery.loop_watch import LoopWatch
from consumer.delivery.policy import made_policy
from consumer.delivery.threads import DaemonThreads, UserThreads
from consumer.delivery.time_limit import Overdue
from consumer.errors import ConfigError, LeaseholdError, StreamDisabled
from consumer.hooks import Hook, Hooks
from consumer.leasing.adopted import AdoptedLeases
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.held_tenure import LeasingDoor
from consumer.leasing.lease_loop import LeaseLoop, LeaseSettings
from consumer.leasing.names import made_name, worker_name
from consumer.leasing.seam import LeaseSeam, LeasesInThread
from consumer.leasing.tenure import StopReason
from consumer.leaving import Leaving, Outcome
from consumer.operate.coordination import CoordinationHook
from consumer.operate.cpu import CpuReader, MachineCpu
from consumer.operate.status import WorkerStatus, health
from consumer.own_writes import check_own_writes
from consumer.processor import ProcessorFactory
from consumer.retry import retrying
from consumer.shards.adoption import adopt
from consumer.shards.budget import ByteBudget
from consumer.shards.checkpoint_rounds import CheckpointRounds
from consumer.shards.held_shards import HeldShards
from consumer.shards.images import check_images
from consumer.shards.progress import StuckWatch
from consumer.shards.scope import Shared
from consumer.shards.shard_sync import ShardSync
from consumer.shards.wheel import PollWheel
from consumer.streams.source import OPENINGS_AT_ONCE, READS_AT_ONCE, RecordSource, StreamIdentity
from lease_store.lease import TableScan
from lease_store.store import LeaseStore

__all__ = ["Outcome", "Worker"]

_log = logging.getLogger("leasehold.worker")

T = TypeVar("T")

_START_WITHIN_SECONDS: Final = 8.0
_ABANDON_SECONDS: Final = 0.5


class Worker:
    """Claims shards of ``source`` through ``lease_store`` and runs one processor over each.

    ``processor_factory`` is a RecordProcessor class or any callable that makes one, called once for each tenure of
    each shard. ``dead_letters`` stands in for the store that ``config.dead_letters`` names. Clock, randomness, the
    lease loop's place (``seam``), user code's threads and what measures CPU come in for simulation; the defaults are
    the real ones.

    Use it as ``async with Worker(...) as worker: await worker.run()``. Entering raises StreamError, LeaseStoreError,
    LeaseTableConflict or ViewTypeMismatch where this worker can't do its work. Two workers may live in one process.
    """

    def __init__(
        self,
        source: RecordSource,
        lease_store: LeaseStore,
        processor_factory: ProcessorFactory,
        config: WorkerConfig,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        hooks: Sequence[Hook] = (),
        seam: LeaseSeam | None = None,
        threads: UserThreads | None = None,
        dead_letters: DeadLetterStore | None = None,
        cpu: CpuReader | None = None,
    ) -> None:
        if not callable(processor_factory):
            raise ConfigError(
                f"The processor factory is {type(processor_factory).__name__!r}, which can't be called: give the "
                "RecordProcessor class itself, or a function that makes one processor for each shard."
            )
        self._source = source
        self._store = lease_store
        self._factory = processor_factory
        self._config = config
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._cpu = None if config.worker_metrics == "none" else cpu or MachineCpu(self._clock)
        self._dead_letters = dead_letters or named_store(config)
        self._coordination = CoordinationHook(self._clock)
        self._hooks = Hooks((self._coordination, *hooks))
        self._seam = seam or LeasesInThread()
        self._stack = AsyncExitStack()
        self._loop_watch: LoopWatch | None = None  # where user code has threads, and time is real
        if threads is None:
            threads = pool = DaemonThreads(config.processor_threads)
            self._stack.callback(pool.close)
            if config.batch_timeout_seconds is not None:
                self._loop_watch = LoopWatch(config.batch_timeout_seconds, self._clock)
        self._threads = threads
        self._budget = ByteBudget(config.prefetch_bytes)
        self.worker_id = made_name(worker_name(config.worker_id), self._random)
        self._stopping = asyncio.Event()
        self._stop_asked = False
        self._overdue = Overdue(self._overdue_changed)
        self._is_restart = False
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._leasing: asyncio.Future[None] | None = None
        self._shards: HeldShards | None = None
        self._failure: asyncio.Future[None] | None = None
        self._start_by = 0.0

    # -- start

    async def __aenter__(self) -> Self:
        self._own_loop = asyncio.get_running_loop()
        self._failure = self._own_loop.create_future()
        if self._stop_asked:
            self._stopping.set()
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _start(self) -> None:
        self._start_by = self._clock.monotonic() + _START_WITHIN_SECONDS
        if self._loop_watch is not None:
            self._stack.enter_context(self._loop_watch)
        await self._stack.enter_async_context(self._source.open(self._config.data_path))
        stream = await self._soon(self._source.resolve)
        check_images(getattr(self._factory, "requires", ()), stream)
        if self._config.skip_own_writes:
            check_own_writes(stream)
        if self._dead_letters is not None:
            holds_keys = self._config.after_dead_letter == "hold_key"
            await self._stack.enter_async_context(checked(self._dead_letters, self._soon, holds_keys=holds_keys))
        self._stack.push_async_callback(self._seam.stop)
        await self._soon(lambda: self._seam.start(self._store.open()))
        store = AdoptedLeases(self._store, stream.label, self._config.initial_position, self._clock.wall)
        settings = self._lease_settings(stream)
        self._loop = LeaseLoop(
            store, settings, self, clock=self._clock, random=self._fork(), hooks=self._hooks, cpu=self._cpu
        )
        self._sync = ShardSync(
            self._source,
            stream,
            self._loop,
            self._seam,
            self._config,
            clock=self._clock,
            random=self._fork(),
            hooks=self._hooks,
        )
        self._shards = self._made_shards(stream)
        await self._soon(lambda: self._adopt(store, stream))
        scan = await self._soon(lambda: self._seam.call(self._loop.start()))
        self._check_enabled(stream, scan)
        self._stack.push_async_callback(self._shards.abandon, _ABANDON_SECONDS)
        self._leasing = self._seam.run(self._loop.run())
        await self._soon(self._sync.start)
        _log.info(
            "Worker %s of %s reads %s (%s), leases in table %s.",
            self.worker_id,
            self._config.app,
            self._source.name,
            stream.label,
            self._store.name,
        )

    def _made_shards(self, stream: StreamIdentity) -> HeldShards:
        door = LeasingDoor(
            loop=self._loop,
            seam=self._seam,
            clock=self._clock,
            wait_for_lineage=self._sync.wait_for_lineage,
            complete_parents=self._sync.complete_parents,
        )
        random, context = self._fork(), copy_context()
        interval = self._config.checkpoint_interval_seconds
        policy = made_policy(
            self._config,
            self._factory,
            stream,
            worker_id=self.worker_id,
            clock=self._clock,
            random=random,
            hooks=self._hooks,
            dead_letters=self._dead_letters,
        )
        if policy.held is not None:
            self._watch(policy.held.run())
        shared = Shared(
            source=self._source,
            factory=self._factory,
            config=self._config,
            worker_id=self.worker_id,
            clock=self._clock,
            random=random,
            hooks=self._hooks,
            threads=self._threads,
            policy=policy,
            budget=self._budget,
            wheel=PollWheel(self._clock, READS_AT_ONCE),
            openings=PollWheel(self._clock, OPENINGS_AT_ONCE),
            rounds=CheckpointRounds(door.checkpoint_many, self._clock, random, interval, context),
            watch=StuckWatch(self._clock, self._hooks, self._config.stuck_after_seconds),
            overdue=self._overdue,
            context=context,
        )
        return HeldShards(shared, door, self._sync.identity_of, stopped=self._stopped, failed=self._fail)

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` for as long as the worker is entered; what breaks it ends the worker."""
        task = asyncio.get_running_loop().create_task(work, name="held keys")

        def ended(_: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._fail("", error)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task.add_done_callback(ended)
        self._stack.push_async_callback(stop)

    async def _soon(self, call: Callable[[], Awaitable[T]]) -> T:
        """A call of the start: tried again while that may help and time is left, then its error is the caller's."""
        left = self._start_by - self._clock.monotonic()
        return await retrying(call, clock=self._clock, random=self._random, attempts=50, within_seconds=left)

    async def _adopt(self, store: AdoptedLeases, stream: StreamIdentity) -> None:
        """Whose table is it? Nothing has been written yet."""
        leases = (await self._seam.call(self._loop.look())).leases
        store.ahead_seconds = await adopt(leases, self._source, stream, table=store.name, clock=self._clock)

    def _check_enabled(self, stream: StreamIdentity, scan: TableScan) -> None:
        """A stream that is switched off is still drained by a group that had begun it, and of no use to a new group."""
        if not stream.enabled and not any(
            lease.stream == stream.label and not lease.is_finished for lease in scan.leases
        ):
            raise StreamDisabled(
                f"The stream {stream.arn} is switched off, and this app has nothing left to read in it. Enable it with "
                "UpdateTable and a StreamSpecification."
            )

    def _lease_settings(self, stream: StreamIdentity) -> LeaseSettings:
        return LeaseSettings(
            worker_id=self.worker_id,
            stream_base=stream.base,
            failover_seconds=self._config.failover_seconds,
            hand_off_timeout_seconds=self._config.hand_off_timeout_seconds,
            scan_read_units_per_second=self._config.scan_read_units_per_second,
            max_leases=self._config.max_leases,
            app=self._config.app,
            coordination=self._config.coordination,
        )

    def _fork(self) -> Random:
        """A generator of its own for each part, so that one more draw in one does not reshuffle the others."""
        return Random(self._random.getrandbits(64))

    # -- run, drain, stop

    async def run(self) -> Outcome:
        """Work until ``stop``, then drain. Raises what ended the worker, where something did.

        DRAIN_TIMED_OUT: user code was still running at the deadline; its leases expire and others take them.
        BATCH_TIMED_OUT: a call did not end, and ``on_timeout`` is restart.
        """
        if self._leasing is None or self._failure is None or self._shards is None:
            raise RuntimeError(
                "A worker is entered before it runs: async with Worker(...) as worker: await worker.run()"
            )
        sync = asyncio.ensure_future(self._sync.run())
        stop = asyncio.ensure_future(self._stopping.wait())
        drain: asyncio.Future[Outcome] | None = None
        parts = (self._leasing, self._failure, sync)
        try:
            await _first_of(stop, parts)
            drain = asyncio.ensure_future(self._drain(self._shards))
            await _first_of(drain, parts)
            return drain.result()
        finally:
            own = [each for each in (sync, stop, drain) if each is not None]
            for each in own:
                each.cancel()
            await asyncio.wait(own)

    def stop(self) -> None:
        """Begin the drain; legal in any thread, before the start, and more than once."""
        self._stop_asked = True
        loop = self._own_loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._stopping.set)

    def _drain(self, shards: HeldShards) -> Coroutine[Any, Any, Outcome]:
        leaving = Leaving(self.worker_id, self._config, self._loop, self._seam, self._clock)
        return leaving.drain_all_but(self._overdue, shards) if self._is_restart else leaving.drain(shards)

    def _overdue_changed(self) -> None:
        """Calls that nothing ends here began to be that, or ended after all."""
        if self._shards is not None:
            self._shards.notify()
        if self._config.on_timeout == "restart" and self._overdue.shards and not self._stopping.is_set():
            _log.error(
                "A call of shard %s does not end, and on_timeout is restart: all other shards drain, then this worker "
                "ends, to be started anew.",
                ", ".join(sorted(self._overdue.shards)),
            )
            self._is_restart = True
            self._stopping.set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leasing = None
        await self._stack.aclose()

    # -- TenureListener: called on the lease loop, acted on here

    def tenure_began(self, held: HeldLease) -> None:
        if self._shards is not None:
            self._seam.post(self._shards.begin, held)

    def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
        if self._shards is not None:
            self._seam.post(self._shards.request_stop, held, reason)

    async def _stopped(self, held: HeldLease) -> None:
        """No user code of a tenure runs any more."""
        await self._seam.call(self._loop.consumer_stopped(held))
        if held.over == "ended" and not held.lease.children:
            self._sync.want()

    def _fail(self, shard_id: str, error: BaseException) -> None:
        """A defect in one tenure ends the worker, loudly: its lease would be renewed and its shard read by nobody."""
        cause = _first(error)
        if not isinstance(cause, LeaseholdError):
            _log.error(
                "Shard %s ended by a defect; this worker stops, and others take its shards.", shard_id, exc_info=error
            )
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(cause)
            self._failure.exception()  # where nobody runs this worker any more, nobody asks for it

    # -- what people see

    def status(self) -> WorkerStatus:
        """A snapshot, to be asked for on the worker's own loop."""
        status = WorkerStatus(
            worker_id=self.worker_id,
            shards=() if self._shards is None else self._shards.status(),
            records_processed=0 if self._shards is None else self._shards.records_processed,
            lease_loop_alive=self._leasing is not None and not self._leasing.done(),
            draining=self._stopping.is_set(),
            sink_down_seconds=None if self._shards is None else self._shards.sink_down_seconds,
            coordination=self._coordination.now(),
        )
        return replace(status, problems=health(status, self._config))


async def _first_of(wanted: asyncio.Future[Any], parts: Sequence[asyncio.Future[None]]) -> None:
    """Wait for ``wanted``; raises what ended one of the worker's ``parts`` before it, or along with it."""
    await asyncio.wait([wanted, *parts], return_when=asyncio.FIRST_COMPLETED)
    for ended in parts:
        if ended.done():
            try:
                await ended
            except BaseExceptionGroup as group:
                raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    """The error itself; of a group of errors the first, for the reader wants the cause and not the container."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
