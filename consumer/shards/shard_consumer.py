"""One tenure of one shard on the worker's loop, from waiting for its parents to its end, by the lifecycle table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from consumer.clock import Clock
from consumer.config import WorkerConfig
from consumer.delivery.callbacks import Call, Callbacks
from consumer.delivery.threads import UserThreads
from consumer.errors import ConfigError
from consumer.hooks import BatchProcessed, Fact
from consumer.leasing.tenure import Tenure
from consumer.operate.status import ShardStage, ShardStatus
from consumer.processor import ProcessorFactory, RecordProcessor, ShardContext
from consumer.record import Record, Records
from consumer.shards.budget import ByteBudget
from consumer.shards.checkpointer import ShardCheckpointer, place_of
from consumer.shards.images import check_images
from consumer.shards.lifecycle import Event, Lifecycle, State
from consumer.shards.prefetch import EndOfShard, HeldPage, ShardReader
from consumer.shards.progress import Progress
from consumer.shards.scope import Scope
from consumer.shards.shard_end import ShardEnd
from consumer.shards.signal import Signal
from consumer.shards.standing import Standing
from consumer.shards.watermark import CheckpointWriter
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.source import RecordSource, StreamIdentity

__all__ = ["ShardConsumer"]

_log = logging.getLogger("leasehold.shards")
_LAST_WORDS_TRIES = 3
# By how much adapter 2.0.1's JSON of a record is longer than its SizeBytes: 354 to 608, measured with 0 to 20 values.
_ENVELOPE_BYTES: Final = 400
_STAGES: Final[dict[State, ShardStage]] = {
    State.WAITING_FOR_PARENTS: "waiting_for_parents",
    State.INITIALIZING: "processing",
    State.PROCESSING: "processing",
    State.STOPPED_AT_GAP: "stopped_at_gap",
    State.STOPPING: "stopping",
    State.ENDING: "processing",
    State.LOSING: "stopping",
    State.DONE: "stopping",
}


class ShardConsumer:
    """Runs one processor over one shard for as long as one tenure lasts; made for it and thrown away after it.

    ``run`` returns the event that ended the tenure. When it has returned, or raised CancelledError, no user code of
    this tenure runs any more and no task of it is left. Cancelling it stops without a checkpoint; the orderly way is
    the tenure's ``stop_requested``.
    """

    def __init__(
        self,
        tenure: Tenure,
        source: RecordSource,
        stream: StreamIdentity,
        processor_factory: ProcessorFactory,
        config: WorkerConfig,
        *,
        worker_id: str,
        clock: Clock,
        random: Random,
        hooks: Callable[[Fact], None],
        threads: UserThreads,
        budget: ByteBudget,
    ) -> None:
        shard_id = tenure.lease.key
        self.shard_id = shard_id
        self.records_processed = 0
        """Records whose ``process_records`` returned in this tenure."""
        self._tenure = tenure
        self._stream = stream
        self._factory = processor_factory
        self._config = config
        self._worker_id = worker_id
        self._clock = clock
        self._hooks = hooks
        self._lifecycle = Lifecycle(shard_id)
        self._signal = signal = Signal(clock)
        self._progress = Progress(shard_id, config.stuck_after_seconds, clock=clock, signal=signal, hooks=hooks)
        scope = Scope(shard_id, clock, random, hooks, signal, self._progress)
        self._standing = Standing(tenure, scope)
        self._writer = CheckpointWriter(
            tenure,
            scope,
            interval_seconds=config.checkpoint_interval_seconds,
            on_lost=self._standing.mark_lost,
        )
        self._checkpointer = ShardCheckpointer(shard_id, self._writer, is_manual=config.checkpointing == "manual")
        self._reader = ShardReader(source, stream, tenure.lease, config, scope, budget=budget, may_read=self._may_read)
        self._end = ShardEnd(tenure, source, stream, scope, child_wait_seconds=config.child_wait_seconds)
        self._callbacks = Callbacks(
            shard_id,
            threads,
            clock=clock,
            random=random,
            hooks=hooks,
            retry_limit_seconds=config.retry_limit_seconds,
            until=lambda condition, seconds: signal.until(condition, within_seconds=seconds),
        )
        self._processor: RecordProcessor | None = None
        self._end_told = False
        self._last_record_at: float | None = None

    @property
    def state(self) -> State:
        """Where the lifecycle is."""
        return self._lifecycle.state

    @property
    def user_code_running(self) -> bool:
        """Whether user code of this tenure runs (or waits for a thread) at this moment."""
        return self._callbacks.is_running

    def status(self) -> ShardStatus:
        """A snapshot for health and the status line."""
        failing = self._callbacks.failing_since
        return ShardStatus(
            shard_id=self.shard_id,
            stage=self._stage(),
            lag_seconds=self._reader.lag_seconds(),
            last_record_at=self._last_record_at,
            oldest_failing_batch_seconds=None if failing is None else self._clock.monotonic() - failing,
            stuck_seconds=self._progress.oldest_seconds(),
        )

    async def run(self) -> Event:
        """Live through the tenure; returns LET_GO, END_STORED, LEASE_LOST or LOSS_TOLD."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._standing.watch(), name=f"{self.shard_id} stop"),
                tasks.create_task(self._writer.run(), name=f"{self.shard_id} checkpoints"),
                tasks.create_task(self._progress.watch(), name=f"{self.shard_id} progress"),
            ]
            event = Event.PARENTS_DONE
            while self.state is not State.DONE:
                event = await self._steps[self.state](self)
                self._lifecycle.move(event)
                self._signal.notify()
                if event is Event.PARENTS_DONE:
                    background.append(tasks.create_task(self._reader.run(), name=f"{self.shard_id} reader"))
            for task in background:
                task.cancel()
        return event

    # One step a state; each returns the event that ends it.

    async def _wait_for_parents(self) -> Event:
        with self._progress.stage("waiting_for_parents"):
            while True:
                if (event := await self._leave_early()) is not None:
                    return event
                if await self._standing.parents_done():
                    return Event.PARENTS_DONE

    async def _initialize(self) -> Event:
        while True:
            if (event := await self._leave_early()) is not None:
                return event
            with self._progress.stage("processing"):
                if self._processor is None:
                    made = await self._call("the constructor", self._factory)
                    if made is None:
                        continue
                    self._processor = _checked(made.value)
                    check_images(self._processor.requires, self._stream)
                if await self._call("initialize", partial(self._user.initialize, self._context())):
                    return Event.INITIALIZED

    async def _process(self) -> Event:
        while True:
            if self._standing.must_stop():
                return self._stopped()
            page = self._reader.front
            if page is not None:
                await self._deliver(page)
            elif self._reader.finished is None:
                await self._signal.until(
                    lambda: self._standing.must_stop() or self._reader.front or self._reader.finished
                )
            else:
                ended = isinstance(self._reader.finished, EndOfShard)
                return Event.END_REACHED if ended else Event.GAP_FOUND

    async def _leave_early(self) -> Event | None:
        while self._standing.must_stop():
            if self._standing.is_lost():
                return Event.LEASE_LOST
            if await self._standing.let_go_early():
                return Event.LET_GO
        return None

    def _stopped(self) -> Event:
        return Event.LEASE_LOST if self._standing.is_lost() else Event.STOP_REQUESTED

    async def _stay_at_gap(self) -> Event:
        with self._progress.stage("stopped_at_gap"):
            await self._signal.until(self._standing.must_stop)
        return self._stopped()

    async def _stop(self) -> Event:
        """Say so to user code, store what is done, let the lease go: in this order, whatever fails on the way."""
        with self._progress.stage("stopping"):
            # After shard_ended the processor is through: KCL's contract has no further call for it.
            if not self._end_told:
                await self._call(
                    "shutdown_requested",
                    partial(self._user.shutdown_requested, self._checkpointer),
                    give_up=self._standing.is_lost,
                    tries=_LAST_WORDS_TRIES,
                )
            if not await self._writer.flush() and not self._standing.is_lost():
                _log.warning(
                    "Shard %s: its last checkpoint could not be stored before it leaves; the next owner repeats the "
                    "records after %s.",
                    self.shard_id,
                    self._writer.stored,
                )
            if self._standing.is_lost() or not await self._standing.let_go(shutdown_called=True):
                return Event.LEASE_LOST
            return Event.LET_GO

    async def _finish(self) -> Event:
        """Tell user code of the shard's end, then store it, children first."""
        if not self._end_told and not await self._tell_end():
            return self._stopped()
        self._end_told = True
        await self._writer.flush()
        with self._progress.stage("ending"):
            finished = self._reader.finished
            named = finished.children if isinstance(finished, EndOfShard) else None
            children = await self._end.find_children(named, self._standing.must_stop)
            if children is None:
                return self._stopped()
            return Event.END_STORED if await self._end.store(children) else Event.LEASE_LOST

    async def _lose(self) -> Event:
        if not self._end_told:
            await self._call(
                "lease_lost", self._user.lease_lost, trusted=False, give_up=_never, tries=_LAST_WORDS_TRIES
            )
        return Event.LOSS_TOLD

    _steps: Final[dict[State, Callable[[ShardConsumer], Awaitable[Event]]]] = {
        State.WAITING_FOR_PARENTS: _wait_for_parents,
        State.INITIALIZING: _initialize,
        State.PROCESSING: _process,
        State.STOPPED_AT_GAP: _stay_at_gap,
        State.STOPPING: _stop,
        State.ENDING: _finish,
        State.LOSING: _lose,
    }

    # Delivery

    async def _deliver(self, page: HeldPage) -> None:
        """Give the page's next batch to user code; the page keeps its place until the call has returned."""
        limit = self._config.max_records
        whole = page.offset == 0 and len(page.records) <= limit
        batch = page.records if whole else page.records[page.offset : page.offset + limit]
        last = place_of(batch[-1])
        records: Records[Record] = Records(
            batch,
            shard_id=self.shard_id,
            view_type=self._stream.view_type,
            millis_behind_latest=page.millis_behind_latest,
        )
        self._checkpointer.begin_batch(last)
        size = sum(record.size_bytes for record in batch)
        self._tenure.delivered(_carried(batch, size))
        started = self._clock.monotonic()
        with self._progress.stage("processing"):
            done = await self._call(
                "process_records",
                partial(self._user.process_records, records, self._checkpointer),
                about=f"records {place_of(batch[0])} to {last}",
                check=self._checkpointer.settle,
            )
        self._checkpointer.end_batch(returned=done is not None)
        if done is None:
            return
        page.offset += len(batch)
        if page.offset >= len(page.records):
            self._reader.release()
        if self._config.checkpointing == "automatic":
            self._writer.advance(last)
        self.records_processed += len(batch)
        self._last_record_at = batch[-1].timestamp
        seconds = self._clock.monotonic() - started
        self._hooks(
            BatchProcessed(self.shard_id, len(batch), size, seconds, batch[0].sequence_number, last.sequence_number)
        )

    async def _tell_end(self) -> bool:
        self._checkpointer.is_ending = True
        manual = self._config.checkpointing == "manual"
        with self._progress.stage("processing"):
            done = await self._call(
                "shard_ended",
                partial(self._user.shard_ended, self._checkpointer),
                check=self._checkpointer.settle_end if manual else self._checkpointer.settle,
            )
        self._checkpointer.is_ending = False
        return done is not None

    async def _call(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        about: str = "",
        check: Callable[[], Awaitable[None]] | None = None,
        give_up: Callable[[], bool] | None = None,
        trusted: bool = True,
        tries: int | None = None,
    ) -> Any:
        give_up = give_up or self._standing.must_stop
        may_begin = partial(self._standing.trusted, give_up) if trusted else None
        return await self._callbacks.run(
            Call(
                name=name,
                function=function,
                give_up=give_up,
                about=about,
                check=check,
                may_begin=may_begin,
                still_may=(lambda: self._tenure.is_trusted) if trusted else _always,
                tries=tries,
            )
        )

    def _may_read(self) -> bool:
        return self.state in (State.INITIALIZING, State.PROCESSING) and not self._standing.must_stop()

    # What user code and people see

    @property
    def _user(self) -> RecordProcessor:
        assert self._processor is not None
        return self._processor

    def _context(self) -> ShardContext:
        lease = self._tenure.lease
        return ShardContext(
            shard_id=self.shard_id,
            stream=self._stream.arn,
            checkpoint=lease.checkpoint,
            fencing_token=self._tenure.fencing_token,
            worker_id=self._worker_id,
            pending_checkpoint=lease.pending_checkpoint,
        )

    def _stage(self) -> ShardStage:
        if self.state is State.PROCESSING and not self._callbacks.is_running and self._callbacks.failing_since is None:
            return "reading"
        return _STAGES[self.state]


def _checked(made: object) -> RecordProcessor:
    if not isinstance(made, RecordProcessor):
        raise ConfigError(
            f"The processor factory made an object of type {type(made).__name__}, which is not a RecordProcessor; "
            "derive its class from consumer.RecordProcessor."
        )
    return made


def _carried(batch: Sequence[Record], size_bytes: int) -> int:
    """What a leader weighs a lease by, as a Java KCL counts it, whose leases are weighed beside ours.

    Of a Kinesis record that is the data alone, without its key; of a DynamoDB record the adapter's JSON.
    """
    if isinstance(batch[0], KinesisRecord):
        return sum(len(record.data) for record in batch if isinstance(record, KinesisRecord))
    return size_bytes + _ENVELOPE_BYTES * len(batch) if isinstance(batch[0], DynamoDBRecord) else size_bytes


def _always() -> bool:
    return True


def _never() -> bool:
    return False
