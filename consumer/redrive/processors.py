"""The processors of a redrive: one for each shard whose letters come, made as a worker would make it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from functools import partial
from typing import Any, Final

from consumer.dead_letters.letter import DeadLetter
from consumer.delivery.callbacks import call_user_code
from consumer.delivery.outcome import Outcome, Raised, Returned
from consumer.delivery.threads import UserThreads
from consumer.errors import CheckpointError, ConfigError
from consumer.processor import PreparedCheckpoint, ProcessorFactory, RecordProcessor, ShardContext
from consumer.record import Record
from lease_store.checkpoint import TRIM_HORIZON

__all__ = ["NoCheckpoints", "Processors"]

_MOST: Final = 100


class _Stored:
    """What a checkpoint gives here: nothing is to be stored, and in plain code nothing is to be waited for."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class NoCheckpoints:
    """A redrive has no shard to checkpoint: a letter is done when ``process_records`` returns."""

    def checkpoint(self, record: Record | None = None) -> _Stored:
        """Nothing to store."""
        return _Stored()

    def prepare(self, record: Record | None = None, *, state: bytes | None = None) -> PreparedCheckpoint:
        """Nothing to prepare. Raises CheckpointError."""
        raise CheckpointError("A redrive has no checkpoints to prepare: a letter is done when process_records returns.")


class Processors:
    """At most a hundred at once; who was not needed for longest is told to shut down first."""

    def __init__(self, factory: ProcessorFactory, threads: UserThreads, worker_id: str) -> None:
        self._factory = factory
        self._threads = threads
        self._worker_id = worker_id
        self._made: OrderedDict[tuple[str, str], RecordProcessor] = OrderedDict()

    async def of(self, letter: DeadLetter) -> RecordProcessor | Raised:
        """That of the letter's shard, initialized; or what making it, or ``initialize``, has raised."""
        place = letter.stream, letter.shard_id
        if place in self._made:
            self._made.move_to_end(place)
            return self._made[place]
        if len(self._made) >= _MOST:
            await self._leave(self._made.popitem(last=False)[1])
        made = await self._called(self._factory)
        if isinstance(made, Raised):
            return made
        processor = made.value
        if not isinstance(processor, RecordProcessor):
            return Raised(ConfigError(f"The processor factory made a {type(processor).__name__}, no RecordProcessor."))
        context = ShardContext(
            letter.shard_id, letter.stream_arn, TRIM_HORIZON, fencing_token=0, worker_id=self._worker_id
        )
        begun = await self._called(partial(processor.initialize, context))
        if isinstance(begun, Raised):
            return begun
        self._made[place] = processor
        return processor

    async def close(self) -> None:
        """As where a worker gives its shards back. Raises what user code raises: letters that it held are removed."""
        while self._made:
            await self._leave(self._made.popitem(last=False)[1])

    async def _leave(self, processor: RecordProcessor) -> None:
        ended = await self._called(partial(processor.shutdown_requested, NoCheckpoints()))
        if isinstance(ended, Raised):
            raise ended.error

    async def _called(self, function: Any) -> Outcome[Any]:
        outcome = await call_user_code(self._threads, function)
        assert isinstance(outcome, Raised | Returned)  # it is, where ``may_begin`` is not asked
        return outcome
