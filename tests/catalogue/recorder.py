"""User code of the catalogue: it journals what it is given and told, and does with a batch what the test scripts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from consumer.processor import Checkpointer, RecordProcessor, ShardContext
from consumer.record import Record, Records
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.policy import serial_of

__all__ = ["Batch", "Call", "Given", "Recorder", "Work"]


@dataclass(frozen=True, slots=True)
class Given:
    """One record in the hands of user code, at a virtual second."""

    at: float
    worker: str
    shard_id: str
    serial: int


@dataclass(frozen=True, slots=True)
class Call:
    """One callback other than ``process_records``; ``shard`` is what ``initialize`` was given."""

    at: float
    worker: str
    shard_id: str
    name: str
    shard: ShardContext | None = None


class Journal(Protocol):
    """Where a recorder writes."""

    judge: StreamJudge
    given: list[Given]
    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of ``process_records``, as a script sees it: serial numbers in order, and who got them."""

    worker: str
    shard_id: str
    serials: tuple[int, ...]
    records: Sequence[Record]
    checkpointer: Checkpointer
    _judge: StreamJudge

    def done(self, *serials: int) -> None:
        """User code is through with these, though the call may still raise."""
        for serial in serials:
            self._judge.done(serial)


Work = Callable[[Batch], Awaitable[None] | None]
"""What a test does with a batch. A batch whose work returns is done with, every record of it."""


class Recorder(RecordProcessor):
    """An ``async def`` processor; subclass it for other shapes."""

    def __init__(self, journal: Journal, worker: str, work: Work | None) -> None:
        self.journal = journal
        self.worker = worker
        self.work = work
        self.shard_id = ""
        self._has_begun = False

    def initialize(self, shard: ShardContext) -> Any:
        if self._has_begun:
            self.journal.judge.breach(f"{self.worker}: a processor of {self.shard_id} is used for a second tenure")
        self.shard_id = shard.shard_id
        self.note("initialize", shard)

    async def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> None:
        batch = self.begin(records, checkpointer)
        made = self.work(batch) if self.work is not None else None
        if inspect.isawaitable(made):
            await made
        batch.done(*batch.serials)

    def begin(self, records: Sequence[Record], checkpointer: Checkpointer) -> Batch:
        """Journal the records of a call, and let the judge see each."""
        self._has_begun = True
        serials = tuple(serial_of(record) for record in records)
        now = asyncio.get_running_loop().time()
        for serial, record in zip(serials, records, strict=True):
            self.journal.given.append(Given(now, self.worker, self.shard_id, serial))
            self.journal.judge.delivering(self.worker, self.shard_id, serial, record)
        return Batch(self.worker, self.shard_id, serials, records, checkpointer, self.journal.judge)

    def lease_lost(self) -> Any:
        self.note("lease_lost")

    def shard_ended(self, checkpointer: Checkpointer) -> Any:
        self.note("shard_ended")
        return super().shard_ended(checkpointer)

    def shutdown_requested(self, checkpointer: Checkpointer) -> Any:
        self.note("shutdown_requested")

    def note(self, name: str, shard: ShardContext | None = None) -> None:
        """Journal a callback."""
        self.journal.calls.append(Call(asyncio.get_running_loop().time(), self.worker, self.shard_id, name, shard))
