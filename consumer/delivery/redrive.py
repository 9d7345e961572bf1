"""A redrive: letters of a store run through a processor once more, key by key, each removed once it is done.

The stream is never asked: it may have lost the records, or be gone. What fails is kept, and with it what follows under
the same key. Nothing here knows a command; ``leasehold dlq redrive`` is one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import AsyncIterable, Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from consumer.clock import Clock
from consumer.dead_letters.letter import DeadLetter
from consumer.dead_letters.store import DeadLetterStore, Unreadable
from consumer.delivery.callbacks import call_user_code
from consumer.delivery.outcome import Raised
from consumer.delivery.reading import AllDone, Busy, Reading, SomeFailed, read_outcome
from consumer.delivery.threads import UserThreads
from consumer.errors import CheckpointError, DeadLetterUnreadable
from consumer.failures import Failure
from consumer.processor import PreparedCheckpoint, ProcessorFactory, RecordProcessor, ShardContext
from consumer.record import Record, Records, ViewType
from lease_store.checkpoint import TRIM_HORIZON
from lease_store.uninterrupted import uninterrupted

__all__ = ["MOVED_ON", "Kept", "Redrive", "Tally"]

MOVED_ON: Final = "later records of its key may have been delivered since"

_BEHIND: Final = "one before it under its key is kept"
_MOST_BYTES: Final = 6 * 1024 * 1024
_MOST_PROCESSORS: Final = 100
_MOST_PAUSES: Final = 10
_FAILURES_IN_A_ROW: Final = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter that stays where it is: ``why`` in a few words, ``failure`` where user code raised.

    None of it is payload, but for ``failure.message``.
    """

    letter: DeadLetter
    why: str
    failure: Failure | None = None


@dataclass(slots=True)
class Tally:
    """What a redrive has come to so far. ``kept`` counts letters by why they were kept."""

    redriven: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    given_up: bool = False
    """Whether the rest was not tried, since nothing succeeded any more."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left of what was to be redriven."""
        return not (self.kept or self.unreadable or self.given_up)


class _Stored:
    """What a checkpoint gives here: nothing is to be stored, and in plain code nothing is to be waited for."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class _NoCheckpoints:
    """A redrive has no shard to checkpoint: a letter is done when ``process_records`` returns."""

    def checkpoint(self, record: Record | None = None) -> _Stored:
        """Nothing to store."""
        return _Stored()

    def prepare(self, record: Record | None = None, *, state: bytes | None = None) -> PreparedCheckpoint:
        """Nothing to prepare. Raises CheckpointError."""
        raise CheckpointError("A redrive has no checkpoints to prepare: a letter is done when process_records returns.")


class Redrive:
    """Takes letters in key order to processors, one for each shard, as a worker would make them.

    ``even_if_newer``: also letters of keys that were not held, whose later records have been delivered since, most
    likely (nothing but the stream's shards knew of each). ``on_kept`` hears of each letter that stays, ``progress`` of
    each batch.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        factory: ProcessorFactory,
        threads: UserThreads,
        *,
        clock: Clock,
        worker_id: str,
        batch_size: int = 100,
        even_if_newer: bool = False,
        on_kept: Callable[[Kept], None] = lambda kept: None,
        progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self._store = store
        self._factory = factory
        self._threads = threads
        self._clock = clock
        self._worker_id = worker_id
        self._batch_size = batch_size
        self._even_if_newer = even_if_newer
        self._on_kept = on_kept
        self._progress = progress
        self._processors: OrderedDict[tuple[str, str], RecordProcessor] = OrderedDict()
        self._failed_key: tuple[str, str] | None = None
        self._failures_in_a_row = 0
        self.tally = Tally()

    async def run(self, letters: AsyncIterable[DeadLetter | Unreadable]) -> Tally:
        """Until ``letters`` end, or ten keys in a row have failed: then whatever they need is not there.

        Raises DeadLetterError where the store fails; what was done until then is gone from it.
        """
        batch: list[DeadLetter] = []
        try:
            async for letter in letters:
                if isinstance(letter, Unreadable):
                    self.tally.unreadable += 1
                    continue
                if batch and not self._belongs(letter, batch):
                    await self._deliver(batch)
                    batch = []
                    if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                        self.tally.given_up = True
                        return self.tally
                batch.append(letter)
            if batch:
                await self._deliver(batch)
        finally:
            while self._processors:
                await self._leave(self._processors.popitem(last=False)[1])
        return self.tally

    def _belongs(self, letter: DeadLetter, batch: list[DeadLetter]) -> bool:
        """A batch is of one key and one shard: what fails in it is known to hold back nothing else."""
        same = _key_of(letter) == _key_of(batch[0]) and letter.shard_id == batch[0].shard_id
        size = sum(len(each.payload or "") for each in batch) + len(letter.payload or "")
        return same and len(batch) < self._batch_size and size <= _MOST_BYTES

    async def _deliver(self, letters: list[DeadLetter]) -> None:
        key = _key_of(letters[0])
        if key == self._failed_key:
            self._keep(letters, _BEHIND)
        elif not self._even_if_newer and not all(letter.key_is_held for letter in letters):
            self._keep(letters, MOVED_ON)
            self._failed_key = key
        elif not await self._try(letters):
            self._failed_key = key
            self._failures_in_a_row += 1
        else:
            self._failures_in_a_row = 0
        self._progress(self.tally)

    async def _try(self, letters: list[DeadLetter]) -> bool:
        """Whether all of them are done; what is done is removed, what is not is kept."""
        try:
            whole = [await self._store.whole(letter) for letter in letters]
            records = [letter.record() for letter in whole]
        except DeadLetterUnreadable as error:
            self._keep(letters, "the body of one can't be read", Failure.of(error))
            return False
        reading = await self._call(letters[0], records)
        if isinstance(reading, AllDone):
            await self._done(letters)
            return True
        if isinstance(reading, SomeFailed):
            first = min(reading.failures)
            await self._done(letters[:first])
            self._keep(letters[first : first + 1], "it failed", reading.failures[first])
            self._keep(letters[first + 1 :], _BEHIND)
            return False
        if len(letters) == 1 or isinstance(reading, Busy):
            self._keep(letters[:1], "it failed", reading.failure)
            self._keep(letters[1:], _BEHIND)
            return False
        return await self._one_by_one(letters)

    async def _one_by_one(self, letters: list[DeadLetter]) -> bool:
        """Nobody knows which of them failed: in order, up to the first that does."""
        for number, letter in enumerate(letters):
            if not await self._try([letter]):
                self._keep(letters[number + 1 :], _BEHIND)
                return False
        return True

    async def _call(self, letter: DeadLetter, records: list[Any]) -> Reading:
        pauses = 0
        while True:
            processor = await self._processor_of(letter)
            if not isinstance(processor, RecordProcessor):
                return read_outcome(processor, records)
            for record in records:
                record.clear_failure()
            batch: Records[Any] = Records(records, shard_id=letter.shard_id, view_type=_view_type(records[0]))
            call = partial(processor.process_records, batch, _NoCheckpoints())
            outcome = await call_user_code(self._threads, call)
            assert outcome is not None  # it is, where ``may_begin`` says no
            reading = read_outcome(outcome, records)
            pauses += 1
            if not isinstance(reading, Busy) or pauses > _MOST_PAUSES:
                return reading
            await self._clock.sleep(reading.seconds)

    async def _processor_of(self, letter: DeadLetter) -> RecordProcessor | Raised:
        """The shard's processor, made and initialized; what that raised otherwise."""
        place = letter.stream, letter.shard_id
        if place in self._processors:
            self._processors.move_to_end(place)
            return self._processors[place]
        if len(self._processors) >= _MOST_PROCESSORS:
            await self._leave(self._processors.popitem(last=False)[1])
        context = ShardContext(
            letter.shard_id, letter.stream_arn, TRIM_HORIZON, fencing_token=0, worker_id=self._worker_id
        )
        processor = self._factory()
        begun = await call_user_code(self._threads, partial(processor.initialize, context))
        if isinstance(begun, Raised):
            return begun
        self._processors[place] = processor
        return processor

    async def _leave(self, processor: RecordProcessor) -> None:
        """As where a worker gives a shard back. Raises what it raises: letters that it still held are removed."""
        ended = await call_user_code(self._threads, partial(processor.shutdown_requested, _NoCheckpoints()))
        if isinstance(ended, Raised):
            raise ended.error

    async def _done(self, letters: list[DeadLetter]) -> None:
        for letter in letters:
            await uninterrupted(self._remove(letter))  # who interrupts is to find gone what is counted

    async def _remove(self, letter: DeadLetter) -> None:
        await self._store.remove(letter.identity)
        self.tally.redriven += 1

    def _keep(self, letters: list[DeadLetter], why: str, failure: Failure | None = None) -> None:
        for letter in letters:
            self.tally.kept[why] += 1
            self._on_kept(Kept(letter, why, failure))


def _key_of(letter: DeadLetter) -> tuple[str, str]:
    return letter.stream, letter.identity.digest


def _view_type(record: Any) -> ViewType | None:
    told = record.raw.get("dynamodb", {}).get("StreamViewType")
    return ViewType(told) if told in ViewType.__members__ else None
