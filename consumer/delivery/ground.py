"""What delivery stands on: what a worker knows of failing, and what one shard gives to its delivery and gets of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

from consumer.clock import Clock
from consumer.dead_letters.store import DeadLetterStore
from consumer.delivery.attempts import DEFAULT_ATTEMPTS, Attempts, RetryRules
from consumer.delivery.batching import BatchRules
from consumer.delivery.breaker import Breaker
from consumer.delivery.held_keys import HeldKeys
from consumer.delivery.lane_key import told_key
from consumer.delivery.pace import Pace
from consumer.delivery.parking import ParkingBounds
from consumer.delivery.reading import Reading
from consumer.delivery.screen import Screen
from consumer.hooks import Fact
from consumer.record import Record
from lease_store.checkpoint import Checkpoint

__all__ = ["Code", "Ground", "Inflow", "Policy", "Taken"]


class Taken(NamedTuple):
    """Records of one page, to be delivered; never empty."""

    records: Sequence[Record]
    millis_behind_latest: int | None


class Inflow(Protocol):
    """What was read of a shard and is not done with."""

    @property
    def is_at_end(self) -> bool:
        """Whether everything was read and taken that will ever come."""
        ...

    def take(self, most: int) -> Taken | None:
        """The next records that were not taken yet, up to ``most``, all of one page; None where none are there."""
        ...

    def done_with(self, count: int) -> None:
        """The oldest ``count`` records that were taken need their pages no longer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is done with records and with their failures: one for all shards of a worker.

    ``screen`` is the filter, ``lane_key`` what decides of a record's lane (default: its key). ``gives_up`` of ``retry``
    says whether anything may be given up; then into ``dead_letters``, or, where it ``drops``, nowhere: but for what
    the filter can't judge, which goes into the store, where it does not go to user code. ``held``: keys of which
    everything goes there; None where a dead letter holds nothing. ``retention_seconds``: how long the stream keeps
    records.
    """

    app: str
    worker_id: str
    clock: Clock
    random: Random
    hooks: Callable[[Fact], None]
    breaker: Breaker
    retry: RetryRules
    batch: BatchRules
    parking: ParkingBounds
    lanes: int = 1
    lane_key: Callable[[Any], str] | None = None
    bisect: bool = False
    lone_failure_seconds: float = 900.0
    screen: Screen | None = None
    dead_letters: DeadLetterStore | None = None
    drops: bool = False
    held: HeldKeys | None = None
    is_manual: bool = False
    pace: Pace | None = None
    retention_seconds: float = 86_400.0

    def must_be_saved(self, record: Record, attempts: Attempts) -> bool:
        """Whether ``record`` has failed for as long as the stream will still keep it: half of retention, if it was new.

        And five times at least.
        What was old already when it failed first has half of the time that was left: a worker that lags, and whose sink
        is down for a while, has nothing but old records.
        """
        if record.timestamp is None or attempts.first_failed_at is None or attempts.made < DEFAULT_ATTEMPTS:
            return False
        failing_seconds = self.clock.monotonic() - attempts.first_failed_at
        return self.clock.wall() - record.timestamp + failing_seconds > self.retention_seconds

    def is_half_gone(self, record: Record) -> bool:
        """Whether half of the time is over for which the stream keeps ``record``."""
        return record.timestamp is not None and self.clock.wall() - record.timestamp > self.retention_seconds / 2

    def key_of(self, record: Record) -> str:
        """What ``record`` shares its order with; its own key where the user's function does not say (``Screen``)."""
        told = record.key if self.lane_key is None else told_key(self.lane_key, record)
        return told if isinstance(told, str) else record.key

    def keys_of(self, records: Sequence[Record]) -> list[str]:
        """``key_of`` each."""
        if self.lane_key is None:
            return [record.key for record in records]
        return [self.key_of(record) for record in records]

    @property
    def parks(self) -> bool:
        """Whether a record that was tried alone, and raised, parks its key, instead of holding up its lane."""
        return self.lanes > 1 or self.bisect


class Code(Protocol):
    """One lane's user code, whose processor is initialized."""

    async def process(self, records: Sequence[Record], millis_behind_latest: int | None) -> Reading | None:
        """Call ``process_records`` once, and read what it said.

        None: it was not called, for the lease is not trusted, or a stop came.
        """
        ...

    def returned(self, records: Sequence[Record], seconds: float) -> None:
        """The records are done."""
        ...


class Ground(Protocol):
    """One shard on one worker, as its delivery sees it."""

    @property
    def shard_id(self) -> str: ...

    @property
    def stream(self) -> str:
        """The label of the stream's incarnation."""
        ...

    @property
    def stream_arn(self) -> str: ...

    def must_stop(self) -> bool:
        """Nothing new may begin."""
        ...

    async def trusted(self) -> bool:
        """Wait while the lease is not trusted; False where a stop comes first."""
        ...

    def notify(self) -> None:
        """Something changed."""
        ...

    async def until(self, condition: Callable[[], object], within_seconds: float | None = None) -> bool:
        """Wait for a condition, looked at after each change."""
        ...

    async def change(self, within_seconds: float | None = None) -> None:
        """Wait for the next change."""
        ...

    def begin_stage(self, stage: str) -> None:
        """``stage`` is under way."""
        ...

    def end_stage(self, stage: str) -> None:
        """``stage`` came to something."""
        ...

    def advance(self, place: Checkpoint) -> None:
        """Everything up to ``place`` is done."""
        ...
