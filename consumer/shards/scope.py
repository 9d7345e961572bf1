"""What the parts of a shard consumer are given: what all shards of a worker share, and what is one shard's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from consumer.clock import Clock
from consumer.config import WorkerConfig
from consumer.delivery.ground import Policy
from consumer.delivery.threads import UserThreads
from consumer.delivery.time_limit import Overdue
from consumer.hooks import Fact
from consumer.processor import ProcessorFactory
from consumer.shards.budget import ByteBudget
from consumer.shards.checkpoint_rounds import CheckpointRounds
from consumer.shards.progress import StuckWatch
from consumer.shards.signal import Signal
from consumer.shards.wheel import PollWheel
from consumer.streams.source import RecordSource, StreamIdentity

__all__ = ["Owner", "Scope", "Shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One worker's own, shared by all its shards: each must be able to hold ten thousand of them.

    ``policy`` is what is done with records and with their failures. ``openings`` is the wheel of shards that are to be
    opened, so that many of them at once, at a start, hold up no reads. ``random`` is drawn from by all in the order of
    what happens, which one loop decides. Tasks run in ``context``: a shard's next task may begin in the midst of
    another's user code, whose variables are none of its business.
    """

    source: RecordSource
    factory: ProcessorFactory
    config: WorkerConfig
    worker_id: str
    clock: Clock
    random: Random
    hooks: Callable[[Fact], None]
    threads: UserThreads
    policy: Policy
    budget: ByteBudget
    wheel: PollWheel
    openings: PollWheel
    rounds: CheckpointRounds
    watch: StuckWatch
    context: Context
    overdue: Overdue = field(default_factory=Overdue)


class Owner(Protocol):
    """The shard consumer, as its parts see it."""

    def start(self, work: Coroutine[Any, Any, None], part: str) -> asyncio.Task[None]:
        """Run one part's work in a task of the shard's, which ends with it at the latest."""
        ...

    def may_read(self) -> bool:
        """Whether the shard is to be read on, as far as its tenure and its state go."""
        ...

    def look(self) -> None:
        """Something changed: see what is to be done."""
        ...


class Scope(Signal):
    """One shard on one worker: which it is, what it is at, and its signal, of which its owner hears, too.

    Its parts hold the scope and not each other's methods: of these there would be ten thousand, too.
    """

    __slots__ = ("owner", "shard_id", "shared", "stream")

    def __init__(self, shard_id: str, stream: StreamIdentity, shared: Shared, owner: Owner) -> None:
        super().__init__(shared.clock)
        self.shard_id = shard_id
        self.stream = stream
        self.shared = shared
        self.owner = owner

    def notify(self) -> None:
        super().notify()
        self.owner.look()

    def begin_stage(self, name: str) -> None:
        """The stage ``name``, which may hang, is under way."""
        self.shared.watch.begin(self, name)

    def end_stage(self, name: str) -> None:
        """It came to something."""
        self.shared.watch.end(self, name)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """It is under way inside the block, however the block ends."""
        self.begin_stage(name)
        try:
            yield
        finally:
            self.end_stage(name)
