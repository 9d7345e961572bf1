"""One tenure's user code: its processor, made and told of everything in the order of KCL's contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from consumer.delivery.callbacks import Call, Callbacks
from consumer.delivery.outcome import Returned
from consumer.errors import ConfigError
from consumer.hooks import BatchProcessed
from consumer.processor import RecordProcessor, ShardContext
from consumer.record import Record, Records
from consumer.shards.checkpointer import ShardCheckpointer, place_of
from consumer.shards.images import check_images
from consumer.shards.standing import Part, Standing
from consumer.shards.watermark import CheckpointWriter
from consumer.shards.weight import weigh
from consumer.streams.source import StreamIdentity

__all__ = ["UserCode"]

_LAST_WORDS_TRIES = 3


class UserCode(Part):
    """The processor of one tenure, and what it has done. One call at a time; each is brought to an end or given up.

    Nothing is called where the lease is not trusted, but for ``lease_lost``. After ``shard_ended`` the processor is
    through: KCL's contract has no further call for it.
    """

    __slots__ = (
        "_callbacks",
        "_checkpointer",
        "_end_told",
        "_processor",
        "_stream",
        "_writer",
        "last_record_at",
        "records_processed",
    )

    def __init__(self, stream: StreamIdentity, standing: Standing, writer: CheckpointWriter) -> None:
        super().__init__(standing)
        self._stream = stream
        self._writer = writer
        self._callbacks: Callbacks | None = None
        self._checkpointer: ShardCheckpointer | None = None
        self._processor: RecordProcessor | None = None
        self._end_told = False
        self.records_processed = 0
        """Records whose ``process_records`` returned in this tenure."""
        self.last_record_at: float | None = None

    @property
    def _is_manual(self) -> bool:
        return self._scope.shared.config.checkpointing == "manual"

    @property
    def is_running(self) -> bool:
        """Whether user code runs, or waits for a thread, at this moment."""
        return self._callbacks is not None and self._callbacks.is_running

    @property
    def failing_since(self) -> float | None:
        """When the call in hand first failed (monotonic), None while none fails."""
        return None if self._callbacks is None else self._callbacks.failing_since

    def rest(self) -> None:
        """Nothing is to be called for now."""
        self._callbacks = None

    async def initialize(self) -> bool:
        """Make the processor, where there is none yet, and initialize it; False where that was given up."""
        with self._scope.progress.stage("processing"):
            if self._processor is None:
                made = await self._call("the constructor", self._scope.shared.factory)
                if made is None:
                    return False
                self._processor = _checked(made.value)
                check_images(self._processor.requires, self._stream)
            return await self._call("initialize", partial(self._processor.initialize, self._context())) is not None

    async def deliver(self, batch: Sequence[Record], millis_behind_latest: int | None) -> bool:
        """Give a batch to user code: whether it is done with."""
        first, last = batch[0], place_of(batch[-1])
        records: Records[Record] = Records(
            batch,
            shard_id=self._scope.shard_id,
            view_type=self._stream.view_type,
            millis_behind_latest=millis_behind_latest,
        )
        checkpointer = self._checkpoints
        checkpointer.begin_batch(last)
        weight = weigh(batch)
        self._tenure.delivered(weight.carried_bytes)
        clock = self._scope.shared.clock
        started = clock.monotonic()
        self._scope.progress.begin("processing")
        try:
            done = await self._call(
                "process_records",
                partial(self._user.process_records, records, checkpointer),
                about=lambda: f"records {place_of(first)} to {last}",
                check=checkpointer.settle,
            )
        finally:
            self._scope.progress.end("processing")
        checkpointer.end_batch(returned=done is not None)
        if done is None:
            return False
        if not self._is_manual:
            self._writer.advance(last)
        self.records_processed += len(batch)
        self.last_record_at = batch[-1].timestamp
        seconds = clock.monotonic() - started
        sizes = (len(batch), weight.size_bytes, seconds, first.sequence_number, last.sequence_number)
        self._scope.shared.hooks(BatchProcessed(self._scope.shard_id, *sizes))
        return True

    async def end(self) -> bool:
        """Tell of the shard's end, once; False where that was given up."""
        if self._end_told:
            return True
        checkpointer = self._checkpoints
        checkpointer.is_ending = True
        with self._scope.progress.stage("processing"):
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
        """Tell that the lease is lost."""
        if not self._end_told:
            await self._call(
                "lease_lost", self._user.lease_lost, trusted=False, give_up=_never, tries=_LAST_WORDS_TRIES
            )

    async def _call(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        about: Callable[[], str] | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
        give_up: Callable[[], bool] | None = None,
        trusted: bool = True,
        tries: int | None = None,
    ) -> Returned[Any] | None:
        give_up = give_up or self._standing.must_stop
        if self._callbacks is None:
            self._callbacks = self._made_callbacks()
        return await self._callbacks.run(
            Call(
                name=name,
                function=function,
                give_up=give_up,
                about=about,
                check=check,
                may_begin=partial(self._standing.trusted, give_up) if trusted else None,
                still_may=self._is_trusted if trusted else None,
                tries=tries,
            )
        )

    def _made_callbacks(self) -> Callbacks:
        shared = self._scope.shared
        return Callbacks(
            self._scope.shard_id,
            shared.threads,
            clock=shared.clock,
            random=shared.random,
            hooks=shared.hooks,
            retry_limit_seconds=shared.config.retry_limit_seconds,
            until=self._scope.until,
        )

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
            self._checkpointer = ShardCheckpointer(self._scope.shard_id, self._writer, is_manual=self._is_manual)
        return self._checkpointer

    def _context(self) -> ShardContext:
        lease = self._tenure.lease
        return ShardContext(
            shard_id=self._scope.shard_id,
            stream=self._stream.arn,
            checkpoint=lease.checkpoint,
            fencing_token=self._tenure.fencing_token,
            worker_id=self._scope.shared.worker_id,
            pending_checkpoint=lease.pending_checkpoint,
        )


def _checked(made: object) -> RecordProcessor:
    if not isinstance(made, RecordProcessor):
        raise ConfigError(
            f"The processor factory made an object of type {type(made).__name__}, which is not a RecordProcessor; "
            "derive its class from consumer.RecordProcessor."
        )
    return made


def _never() -> bool:
    return False
