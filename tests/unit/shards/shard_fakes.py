"""A scripted tenure, a scripted stream and a stage for one shard consumer in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import random as stdlib_random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from consumer.config import InitialPosition, WorkerConfig
from consumer.delivery.policy import made_policy
from consumer.delivery.threads import InlineThreads
from consumer.errors import IteratorExpired, LeaseLost, LeaseStoreError
from consumer.failures import Failure
from consumer.hooks import Fact
from consumer.processor import RecordProcessor
from consumer.record import ViewType
from consumer.shards.budget import ByteBudget
from consumer.shards.checkpoint_rounds import CheckpointRounds
from consumer.shards.lifecycle import Event
from consumer.shards.progress import StuckWatch
from consumer.shards.scope import Shared
from consumer.shards.shard_consumer import ShardConsumer
from consumer.shards.wheel import PollWheel
from consumer.streams.source import OPENINGS_AT_ONCE, READS_AT_ONCE, Opened, Page, Position, Shard, StreamIdentity
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease
from lease_store.uninterrupted import uninterrupted

DYNAMODB = StreamIdentity("arn:stream/1", "arn:stream/1", "arn", ViewType.NEW_AND_OLD_IMAGES)
KINESIS = StreamIdentity("arn:kinesis", "arn:kinesis@1", "arn:kinesis", None)
CHILD = Shard("child-1", ("shard-1",))


@dataclass(frozen=True)
class FakeRecord:
    sequence_number: str
    sub_sequence_number: int = 0
    size_bytes: int = 100
    timestamp: float | None = 1_800_000_000.0
    key: str = "k"
    failure: Failure | None = field(default=None, compare=False)
    redriven: bool = False

    def fail(self, error: BaseException | str) -> None:
        object.__setattr__(self, "failure", Failure.of(error))

    def clear_failure(self) -> None:
        object.__setattr__(self, "failure", None)

    def detach(self) -> Self:
        return self


def records(*numbers: int, size_bytes: int = 100, timestamp: float | None = 1_800_000_000.0) -> list[FakeRecord]:
    return [FakeRecord(str(number), 0, size_bytes, timestamp) for number in numbers]


def numbers(batch: Iterable[Any]) -> list[int]:
    return [int(record.sequence_number) for record in batch]


class Recorder(RecordProcessor):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.log: list[object] = []

    async def initialize(self, shard):
        self.log.append(("initialize", shard.shard_id, str(shard.checkpoint), shard.fencing_token))

    async def process_records(self, records, checkpointer):
        self.log.append(numbers(records))

    async def lease_lost(self):
        self.log.append("lease_lost")

    async def shard_ended(self, checkpointer):
        self.log.append("shard_ended")
        await checkpointer.checkpoint()

    async def shutdown_requested(self, checkpointer):
        self.log.append("shutdown_requested")

    @property
    def seen(self) -> list[int]:
        return [number for entry in self.log if isinstance(entry, list) for number in entry]


class FakeTenure:
    """A tenure whose answers a test sets; every write is kept with its virtual time."""

    def __init__(self, **lease: Any) -> None:
        self.lease = Lease(**({"key": "shard-1", "owner": "me", "counter": 7} | lease))
        self.fencing_token = self.lease.counter
        self.delivered_bytes = 0
        self.has_started = False
        self.is_trusted = True
        self.stop_requested: Any = None
        self.calls: list[tuple[Any, ...]] = []
        self.stored: list[tuple[float, str]] = []
        self.checkpoint_errors: deque[Exception] = deque()
        self.end_errors: deque[Exception] = deque()
        self.parent_errors: deque[Exception] = deque()
        self.let_go_answers: deque[bool] = deque()
        self.parents = asyncio.Event()
        self.parents.set()
        self.checkpoint_gate = asyncio.Event()
        self.checkpoint_gate.set()
        self.checkpoint_begun = asyncio.Event()
        self.children: Sequence[Shard] | None = None
        self.request_stop: Callable[[Any], None] = lambda reason: None

    def ask(self, reason: Any) -> None:
        self.stop_requested = reason
        if reason == "lost":
            self.is_trusted = False
        self.request_stop(reason)

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        self.checkpoint_begun.set()
        await self.checkpoint_gate.wait()
        if self.stop_requested == "lost":
            raise LeaseLost
        if self.checkpoint_errors:
            raise self.checkpoint_errors.popleft()
        self.calls.append(("checkpoint", str(checkpoint)))
        self.stored.append((asyncio.get_running_loop().time(), str(checkpoint)))

    async def prepare(self, checkpoint: Checkpoint, state: bytes | None) -> None:
        await self.checkpoint_gate.wait()
        if self.stop_requested == "lost":
            raise LeaseLost
        if self.checkpoint_errors:
            raise self.checkpoint_errors.popleft()
        self.calls.append(("prepare", str(checkpoint), state))

    async def let_go(self, *, shutdown_called: bool) -> bool:
        self.calls.append(("let_go", shutdown_called))
        answer = self.let_go_answers.popleft() if self.let_go_answers else True
        if not answer:
            self.ask(None)
        return answer

    async def end_shard(self, children: Sequence[Shard]) -> None:
        if self.stop_requested == "lost":
            raise LeaseLost
        if self.end_errors:
            raise self.end_errors.popleft()
        self.calls.append(("end_shard", tuple(child.id for child in children)))
        self.children = children

    def delivered(self, size_bytes: int) -> None:
        self.delivered_bytes += size_bytes

    def started(self) -> None:
        self.has_started = True

    async def parents_done(self) -> None:
        if self.parent_errors:
            raise self.parent_errors.popleft()
        await self.parents.wait()


class FakeSource:
    """A shard as a script: each read takes the next step, a Page or an exception; at its end the shard is idle."""

    name = "fake"

    def __init__(self, *script: Page | Exception | Sequence[FakeRecord], rate: float | None = None) -> None:
        self.script: deque[Any] = deque(script)
        self.max_reads_per_second = rate
        self.opened: list[Position] = []
        self.open_script: deque[Any] = deque()
        self.reads: list[float] = []
        self.limits: list[int] = []
        self.valid = 0
        self.child_answers: deque[Any] = deque()
        self.child_calls: list[float] = []
        self.millis_when_idle: int | None = None

    @asynccontextmanager
    async def open(self, data_path: str = "auto") -> Any:
        yield

    async def resolve(self) -> StreamIdentity:
        return DYNAMODB

    async def list_shards(self, stream: StreamIdentity) -> Any:
        raise AssertionError("a shard consumer lists no shards")

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        self.child_calls.append(asyncio.get_running_loop().time())
        answer = self.child_answers.popleft() if self.child_answers else ()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        self.opened.append(position)
        step = self.open_script.popleft() if self.open_script else None
        if isinstance(step, Exception):
            raise step
        self.valid += 1
        return step or Opened(f"iterator-{self.valid}-0")

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        self.reads.append(asyncio.get_running_loop().time())
        self.limits.append(limit)
        if not self.script:
            return Page((), "next", millis_behind_latest=self.millis_when_idle)
        step = self.script.popleft()
        if isinstance(step, IteratorExpired):
            self.valid += 1
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Page) else page(step)


def page(batch: Sequence[FakeRecord] = (), *, last: bool = False, **more: Any) -> Page:
    size = sum(record.size_bytes for record in batch)
    return Page(batch, None if last else "next", **({"size_bytes": size} | more))


def config(**changes: Any) -> WorkerConfig:
    return WorkerConfig(**({"app": "app", "initial_position": InitialPosition("TRIM_HORIZON")} | changes))


class Stage:
    """Everything one shard consumer needs, made inside a running loop; ``log`` is what the processor saw."""

    def __init__(
        self,
        tenure: FakeTenure,
        source: FakeSource,
        processor: Callable[[], Any],
        *,
        stream: StreamIdentity = DYNAMODB,
        budget: ByteBudget | None = None,
        threads: Any = None,
        wheel: PollWheel | None = None,
        letters: Any = None,
        **settings: Any,
    ) -> None:
        self.tenure = tenure
        self.source = source
        self.facts: list[Fact] = []
        self.rounds: list[tuple[float, str]] = []
        self.clock = VirtualClock()
        settled = config(**settings)
        self.wheel = wheel or PollWheel(self.clock, READS_AT_ONCE)
        random = stdlib_random.Random(1)
        self.policy = made_policy(
            settled,
            processor,
            stream,
            worker_id="me",
            clock=self.clock,
            random=random,
            hooks=self.facts.append,
            dead_letters=letters,
        )
        self.shared = Shared(
            source=source,
            factory=processor,
            config=settled,
            worker_id="me",
            clock=self.clock,
            random=random,
            hooks=self.facts.append,
            threads=threads or InlineThreads(),
            policy=self.policy,
            budget=budget or ByteBudget(64 * 1024 * 1024),
            wheel=self.wheel,
            openings=PollWheel(self.clock, OPENINGS_AT_ONCE),
            rounds=CheckpointRounds(
                self._store_many,
                self.clock,
                stdlib_random.Random(2),
                settled.checkpoint_interval_seconds,
                contextvars.copy_context(),
            ),
            watch=StuckWatch(self.clock, self.facts.append, settled.stuck_after_seconds),
            context=contextvars.copy_context(),
        )
        self.ended: asyncio.Future[Event | None] = asyncio.get_running_loop().create_future()
        self.consumer = ShardConsumer(tenure, stream, self.shared, on_end=self._end)
        tenure.request_stop = self.consumer.request_stop

    async def _store_many(self, wanted: Sequence[tuple[Any, Checkpoint]], told: Any) -> None:
        for tenure, place in wanted:
            try:
                await tenure.checkpoint(place)
            except (LeaseLost, LeaseStoreError) as error:
                told(tenure, error)
            else:
                self.rounds.append((asyncio.get_running_loop().time(), str(place)))
                told(tenure, None)

    def _end(self, _: Any, event: Event | None, error: BaseException | None) -> None:
        if error is not None:
            self.ended.set_exception(error)
        elif event is None:
            self.ended.cancel()
        else:
            self.ended.set_result(event)

    def start(self) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(self.run(), name="consumer under test")

    async def run(self) -> Event | None:
        """The consumer's whole life; cancelled, it is abandoned and waited for."""
        self.consumer.begin()
        try:
            return await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            self.consumer.abandon()
            await uninterrupted(self._until_ended())
            raise
        finally:
            await uninterrupted(self._close())

    async def _close(self) -> None:
        """What was the worker's and not the consumer's: a round of checkpoints that is under way."""
        self.shared.rounds.close()
        await asyncio.gather(*self.shared.rounds._rounds, return_exceptions=True)

    async def _until_ended(self) -> None:
        await asyncio.wait({self.ended})

    def of(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


def virtual(main: Callable[[], Any], *, limit_seconds: float = 3_600.0, seed: int | None = None) -> Any:
    """Run ``main`` in virtual time; nothing it started may be left."""

    async def checked() -> Any:
        result = await main()
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == [], f"tasks left behind: {left}"
        return result

    return run_virtual(checked(), seed=seed, limit_seconds=limit_seconds)


async def at(seconds: float) -> None:
    """Wait until this instant of virtual time."""
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())


def virtual_stage(script, user, act, *, tenure=None, **settings):
    """Run one consumer beside ``act(stage, task)``."""

    async def main():
        stage = Stage(tenure() if tenure else FakeTenure(), FakeSource(*script), user, **settings)
        task = stage.start()
        await act(stage, task)
        if not task.done():
            stage.tenure.ask("lost")
        await task
        return stage

    return virtual(main)


def manual(step, script=None, *, act=None, tenure=None, **settings):
    """Run ``await step(records, checkpointer)`` as process_records in manual mode; what it raised is collected."""
    raised = []

    class User(RecordProcessor):
        async def process_records(self, records, checkpointer):
            try:
                await step(records, checkpointer)
            except Exception as error:
                raised.append(error)

    async def default(stage, task):
        await at(10)

    stage = virtual_stage(
        script or [records(1, 2, 3)], User, act or default, tenure=tenure, checkpointing="manual", **settings
    )
    return stage, raised


def stored(stage):
    return [number for _, number in stage.tenure.stored]
