"""The ``Checkpointer`` that user code gets: plain calls block in threads, async code awaits, both store alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, Protocol

from consumer.errors import CheckpointBackwards, CheckpointBeyondDelivered, CheckpointError, LeaseLost
from consumer.record import Record
from consumer.shards.watermark import CheckpointWriter
from lease_store.checkpoint import SHARD_END, Checkpoint

__all__ = ["Reach", "ShardCheckpointer", "place_of"]

_MOST_STATE_BYTES = 256 * 1024  # a row holds 400 KB in all, and one that is too great would be refused for ever


def place_of(record: Record) -> Checkpoint:
    """The place in the shard at which ``record`` stands."""
    return Checkpoint(record.sequence_number, record.sub_sequence_number)


class Reach(Protocol):
    """How far a shard's checkpoint may go: not past what waits parked, nor past what other lanes have not done."""

    @property
    def lanes(self) -> int: ...

    def claim(self, lane: int, place: Checkpoint) -> Checkpoint:
        """User code of ``lane`` says that all it was given up to ``place`` is done: what may be stored now."""
        ...


class _Storing(Awaitable[None]):
    """A checkpoint on its way. Not a coroutine: forgetting to await it neither warns nor keeps it from being stored."""

    __slots__ = ("done", "was_awaited")

    def __init__(self, done: Future[None]) -> None:
        self.done = done
        self.was_awaited = False

    def __await__(self) -> Generator[Any, None, None]:
        self.was_awaited = True
        if self.done.done():
            self.done.result()
            return
        yield from asyncio.wrap_future(self.done).__await__()


class _Prepared(Awaitable["_Prepared"]):
    """See ``consumer.processor.PreparedCheckpoint``."""

    __slots__ = ("_commit", "checkpoint", "storing")

    def __init__(self, storing: _Storing, checkpoint: Checkpoint, commit: Callable[[], Awaitable[None]]) -> None:
        self.storing = storing
        self.checkpoint = checkpoint
        self._commit = commit

    def __await__(self) -> Generator[Any, None, _Prepared]:
        yield from self.storing.__await__()
        return self

    def commit(self) -> Awaitable[None]:
        return self._commit()


class ShardCheckpointer:
    """One tenure's ``Checkpointer``; may be called from any thread and from the worker's loop.

    Without a record, ``checkpoint()`` means the last record of every batch that ``process_records`` has returned from,
    and of the one it is in now; a batch that raised and was given up (a hand-off) is not covered. In ``shard_ended`` it
    means the shard's end. ``is_manual``: nothing but user code stores checkpoints, so that it may prepare some. With
    several lanes each has one: what it is told is a claim about the lane's own records, and what is stored is the
    shard's place, once all lanes have claimed so much.
    """

    def __init__(
        self, shard_id: str, writer: CheckpointWriter, *, is_manual: bool, reach: Reach, lane: int = 0
    ) -> None:
        self._shard_id = shard_id
        self._writer = writer
        self._is_manual = is_manual
        self._reach = reach
        self._lane = lane
        self._claimed = writer.stored
        self._loop = asyncio.get_running_loop()
        self._begun = self._given = writer.stored
        self._covered = writer.stored
        self._in_hand: Checkpoint | None = None
        self._unsettled: list[_Storing] = []
        self.is_ending = False
        """True while ``shard_ended`` is being called."""
        self.end_marked = False
        """True once ``shard_ended`` has checkpointed the shard's end."""

    def begin_batch(self, last: Checkpoint | None) -> None:
        """A batch that ends at ``last`` is given to user code; None: one without records."""
        self._in_hand = last
        if last is not None:
            self._given = max(self._given, last)

    def end_batch(self, *, returned: bool) -> None:
        """``process_records`` returned, or the batch was given up."""
        if returned and self._in_hand is not None:
            self._covered = max(self._covered, self._in_hand)
        self._in_hand = None

    def checkpoint(self, record: Record | None = None) -> Awaitable[None]:
        """See ``consumer.Checkpointer``."""
        return self._storing(lambda: self._begin(record))

    def prepare(self, record: Record | None = None, *, state: bytes | None = None) -> _Prepared:
        """See ``consumer.Checkpointer``."""
        if not self._is_manual:
            raise CheckpointError(
                f"Shard {self._shard_id}: prepare() needs manual checkpointing (--checkpointing manual): the next "
                "automatic checkpoint would remove what is prepared."
            )
        if self._reach.lanes > 1:
            raise CheckpointError(
                f"Shard {self._shard_id}: prepare() needs one lane: the shard's place is that of all its lanes, and "
                "none of them can know it."
            )
        if not isinstance(state, bytes | None) or len(state or b"") > _MOST_STATE_BYTES:
            raise CheckpointError(
                f"Shard {self._shard_id}: the state that goes with a prepared checkpoint is bytes, "
                f"{_MOST_STATE_BYTES // 1024} KiB at most; keep what is larger elsewhere, and its name here."
            )
        places: list[Checkpoint] = []

        def begin() -> Future[None]:
            is_end = record is None and self.is_ending
            places.append(SHARD_END if is_end else self._reach.claim(self._lane, self._target(record)))
            return self._writer.prepare(places[0], state)

        storing = self._storing(begin)
        return _Prepared(storing, places[0], lambda: self._storing(lambda: self._begin_commit(places[0])))

    def _storing(self, begin: Callable[[], Future[None]]) -> _Storing:
        """What ``begin`` starts on the loop: on its way there, done in a thread."""
        if self._is_on_loop():
            storing = _Storing(begin())
            self._unsettled.append(storing)
            return storing
        storing = _Storing(self._from_thread(begin))
        storing.done.result()
        return storing

    async def settle(self) -> None:
        """Wait for what user code stored without awaiting; the first failure that it could not hear is raised here."""
        unsettled, self._unsettled = self._unsettled, []
        for storing in unsettled:
            if not storing.was_awaited:
                await storing

    async def settle_end(self) -> None:
        """As ``settle``; raises CheckpointError where manual user code did not mark the shard's end."""
        await self.settle()
        if not self.end_marked:
            raise CheckpointError(
                f"Shard {self._shard_id}: shard_ended returned without calling checkpointer.checkpoint(), so the end "
                "can't be stored and the children can't start; call it once everything of the shard is done."
            )

    def _is_begun_aggregate(self, target: Checkpoint) -> bool:
        """Whether ``target`` is the record, given again whole, of the aggregate inside which a KCL left the row."""
        begun = self._begun
        return (
            self._writer.wanted == begun
            and begun.sub_sequence_number > 0 == target.sub_sequence_number
            and target.sequence_number == begun.sequence_number
        )

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _from_thread(self, begin: Callable[[], Future[None]]) -> Future[None]:
        answer: Future[Future[None]] = Future()

        def on_loop() -> None:
            try:
                answer.set_result(begin())
            except BaseException as error:
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(on_loop)
        except RuntimeError:
            raise LeaseLost(
                f"Shard {self._shard_id}: the worker has stopped, nothing was stored; the next owner goes on from the "
                "last checkpoint."
            ) from None
        return answer.result()

    def _begin(self, record: Record | None) -> Future[None]:
        if record is None and self.is_ending:
            if not self._writer.is_closed:
                self.end_marked = True
            return self._writer.store(self._writer.stored)
        return self._claim(self._target(record))

    def _claim(self, target: Checkpoint) -> Future[None]:
        if self._writer.is_closed:
            return self._writer.store(target)
        self._claimed = max(self._claimed, target)
        return self._writer.store(self._reach.claim(self._lane, target))

    def _begin_commit(self, prepared: Checkpoint) -> Future[None]:
        if not prepared.is_end:
            self._require_not_back(prepared)
            return self._claim(prepared)
        if not self.is_ending:
            raise CheckpointError(
                f"Shard {self._shard_id}: its end was prepared in shard_ended, and can be committed only there."
            )
        return self._begin(None)

    def _target(self, record: Record | None) -> Checkpoint:
        """The place that user code means. Raises CheckpointBackwards, CheckpointBeyondDelivered."""
        target = max(self._covered, self._in_hand or self._covered) if record is None else place_of(record)
        if self._writer.is_closed:
            return target
        if self._is_begun_aggregate(target):
            target = self._writer.wanted
        if record is not None and target > self._given:
            raise CheckpointBeyondDelivered(
                f"Shard {self._shard_id}: checkpoint {target} lies above {self._given}, the last record given to this "
                "processor; checkpoint only records that process_records has received."
            )
        if record is not None:
            self._require_not_back(target)
        return target

    def _require_not_back(self, target: Checkpoint) -> None:
        # A record that was parked comes after others that were claimed; those of other lanes say nothing of this one's.
        floor = min(self._claimed, self._writer.wanted)
        if target < floor and not self._writer.is_closed:
            raise CheckpointBackwards(
                f"Shard {self._shard_id}: checkpoint {target} lies below {floor}, which is stored "
                "already or about to be; checkpoints never go back."
            )
