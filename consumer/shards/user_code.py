"""One lane's user code in one tenure: its processor, made and told of everything in the order of KCL's contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from consumer.delivery.callbacks import Call, Callbacks
from consumer.delivery.outcome import Returned
from consumer.delivery.policy import refuse_unheard
from consumer.delivery.reading import Reading, read_outcome
from consumer.delivery.time_limit import TimedCall, TimeLimit
from consumer.errors import ConfigError
from consumer.hooks import BatchProcessed
from consumer.processor import RecordProcessor, ShardContext
from consumer.record import Record, Records
from consumer.shards.checkpointer import Reach, ShardCheckpointer, place_of
from consumer.shards.images import check_images
from consumer.shards.standing import Part, Standing
from consumer.shards.watermark import CheckpointWriter
from consumer.shards.weight import weigh

__all__ = ["UserCode"]

_LAST_WORDS_TRIES = 3


class UserCode(Part):
    """The processor of one lane, and what it has done. One call at a time.

    Nothing is called where the lease is not trusted, but for ``lease_lost``. After ``shard_ended`` the processor is
    through: KCL's contract has no further call for it.
    """

    __slots__ = (
        "_callbacks",
        "_checkpointer",
        "_end_told",
        "_is_initialized",
        "_lane",
        "_processor",
        "_reach",
        "_writer",
        "last_record_at",
        "records_processed",
    )

    def __init__(self, lane: int, standing: Standing, writer: CheckpointWriter, reach: Reach) -> None:
        super().__init__(standing)
        self._lane = lane
        self._writer = writer
        self._reach = reach
        self._callbacks: Callbacks | None = None
        self._checkpointer: ShardCheckpointer | None = None
        self._processor: RecordProcessor | None = None
        self._end_told = False
        self._is_initialized = False
        self.records_processed = 0
        """Records whose ``process_records`` returned in this tenure."""
        self.last_record_at: float | None = None

    @property
    def _is_manual(self) -> bool:
        return self._standing.shared.config.checkpointing == "manual"

    @property
    def is_running(self) -> bool:
        """Whether user code runs, or waits for a thread, at this moment."""
        return self._callbacks is not None and self._callbacks.is_running

    @property
    def failing_since(self) -> float | None:
        """When the callback in hand, other than ``process_records``, first failed (monotonic)."""
        return None if self._callbacks is None else self._callbacks.failing_since

    def rest(self) -> None:
        """Nothing is to be called for now."""
        self._callbacks = None

    async def initialize(self) -> bool:
        """Make the processor, where there is none yet, and initialize it; False where that was given up."""
        if self._is_initialized:
            return True
        if self._processor is None:
            made = await self._call("the constructor", self._standing.shared.factory)
            if made is None:
                return False
            self._processor = _checked(made.value)
            check_images(self._processor.requires, self._standing.stream)
            refuse_unheard(self._processor, self._standing.shared.factory)
        done = await self._call("initialize", partial(self._processor.initialize, self._context()))
        self._is_initialized = done is not None
        return self._is_initialized

    async def process(self, records: Sequence[Record], millis_behind_latest: int | None) -> Reading | None:
        """See ``delivery.ground.Code``."""
        standing = self._standing
        if not await standing.trusted(standing.must_stop):
            return None
        batch: Records[Record] = Records(
            records,
            shard_id=self._standing.shard_id,
            view_type=self._standing.stream.view_type,
            millis_behind_latest=millis_behind_latest,
        )
        checkpointer = self._checkpoints
        checkpointer.begin_batch(place_of(records[-1]) if records else None)
        call = Call(
            name="process_records",
            function=partial(self._user.process_records, batch, checkpointer),
            give_up=standing.must_stop,
            check=checkpointer.settle,
            still_may=self._is_trusted,
            limit=self._limit(records),
        )
        outcome = await self._calls.attempt(call)
        reading = None if outcome is None else read_outcome(outcome, records)
        checkpointer.end_batch(returned=reading is not None and reading.is_through)
        return reading

    def _limit(self, records: Sequence[Record]) -> TimedCall | None:
        shard_id, shared = self._standing.shard_id, self._standing.shared
        seconds = shared.config.batch_timeout_seconds
        if seconds is None:
            return None
        limit = TimeLimit(shard_id, seconds, clock=shared.clock, hooks=shared.hooks, overdue=shared.overdue)
        return limit.call(partial(_about, records))

    def returned(self, records: Sequence[Record], seconds: float) -> None:
        """See ``delivery.ground.Code``."""
        weight = weigh(records)
        self._tenure.delivered(weight.carried_bytes)
        self.records_processed += len(records)
        self.last_record_at = records[-1].timestamp
        first, last = records[0].sequence_number, records[-1].sequence_number
        self._standing.shared.hooks(
            BatchProcessed(self._standing.shard_id, len(records), weight.size_bytes, seconds, first, last)
        )

    async def end(self) -> bool:
        """Tell of the shard's end, once; False where that was given up."""
        if self._end_told:
            return True
        checkpointer = self._checkpoints
        checkpointer.is_ending = True
        done = await self._call(
            "shard_ended",
            partial(self._user.shard_ended, checkpointer),
            check=checkpointer.settle_end if self._is_manual else checkpointer.settle,
        )
        checkpointer.is_ending = False
        self._end_told = done is not None
        return self._end_told

    async def shut_down(self) -> None:
        """Tell that the lease is about to leave."""
        if not self._end_told:
            tell = partial(self._user.shutdown_requested, self._checkpoints)
            await self._call("shutdown_requested", tell, give_up=self._standing.is_lost, tries=_LAST_WORDS_TRIES)

    async def lose(self) -> None:
        """Tell that the lease is lost, where there is somebody to tell."""
        if self._is_initialized and not self._end_told:
            await self._call(
                "lease_lost", self._user.lease_lost, trusted=False, give_up=_never, tries=_LAST_WORDS_TRIES
            )

    async def _call(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        check: Callable[[], Awaitable[None]] | None = None,
        give_up: Callable[[], bool] | None = None,
        trusted: bool = True,
        tries: int | None = None,
    ) -> Returned[Any] | None:
        give_up = give_up or self._standing.must_stop
        return await self._calls.run(
            Call(
                name=name,
                function=function,
                give_up=give_up,
                check=check,
                may_begin=partial(self._standing.trusted, give_up) if trusted else None,
                still_may=self._is_trusted if trusted else None,
                tries=tries,
            )
        )

    @property
    def _calls(self) -> Callbacks:
        if self._callbacks is None:
            shared = self._standing.shared
            self._callbacks = Callbacks(
                self._standing.shard_id,
                shared.threads,
                clock=shared.clock,
                random=shared.random,
                hooks=shared.hooks,
                retry_limit_seconds=shared.config.retry_limit_seconds,
                until=self._standing.until,
            )
        return self._callbacks

    def _is_trusted(self) -> bool:
        return self._tenure.is_trusted

    @property
    def _user(self) -> RecordProcessor:
        assert self._processor is not None
        return self._processor

    @property
    def _checkpoints(self) -> ShardCheckpointer:
        """Made when first needed, and kept: user code may keep it, too."""
        if self._checkpointer is None:
            self._checkpointer = ShardCheckpointer(
                self._standing.shard_id, self._writer, is_manual=self._is_manual, lane=self._lane, reach=self._reach
            )
        return self._checkpointer

    def _context(self) -> ShardContext:
        lease = self._tenure.lease
        return ShardContext(
            shard_id=self._standing.shard_id,
            stream=self._standing.stream.arn,
            checkpoint=lease.checkpoint,
            fencing_token=self._tenure.fencing_token,
            worker_id=self._standing.shared.worker_id,
            pending_checkpoint=lease.pending_checkpoint,
            lane=self._lane,
            lanes=self._standing.shared.config.lanes,
        )


def _checked(made: object) -> RecordProcessor:
    if not isinstance(made, RecordProcessor):
        raise ConfigError(
            f"The processor factory made an object of type {type(made).__name__}, which is not a RecordProcessor; "
            "derive its class from consumer.RecordProcessor."
        )
    return made


def _about(records: Sequence[Record]) -> str:
    return f"records {place_of(records[0])} to {place_of(records[-1])}" if records else "no records"


def _never() -> bool:
    return False
