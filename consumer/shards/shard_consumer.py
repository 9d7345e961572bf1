"""One tenure of one shard on the worker's loop, from waiting for its parents to its end, by the lifecycle table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, Final

from consumer.leasing.tenure import StopReason, Tenure
from consumer.operate.status import ShardStage, ShardStatus
from consumer.shards.ends import EndOfShard
from consumer.shards.lifecycle import Event, State, moved
from consumer.shards.reader import ShardReader
from consumer.shards.scope import Shared
from consumer.shards.shard_delivery import ShardDelivery
from consumer.shards.shard_end import ShardEnd
from consumer.shards.standing import Standing
from consumer.shards.watermark import CheckpointWriter
from consumer.streams.source import StreamIdentity

__all__ = ["ShardConsumer"]

_log = logging.getLogger("leasehold.shards")
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

    ``begin`` begins it. It has a task while it has something to do: records to deliver, user code to call, a stop or
    the shard's end to go through, a checkpoint to store. A shard that has nothing new has none, but for its reads.
    ``request_stop`` is the orderly way to end it, and may be taken back; ``abandon`` stops it without a checkpoint.
    ``on_end`` is called once, with its tenure and the event that ended it (None: abandoned) or what broke it: no user
    code of this tenure runs any more then, and no task of it is left.
    """

    __slots__ = (
        "_error",
        "_is_closed",
        "_is_over",
        "_life",
        "_on_end",
        "_reader",
        "_standing",
        "_tasks",
        "_user",
        "_writer",
        "ended_by",
        "state",
    )

    def __init__(
        self,
        tenure: Tenure,
        stream: StreamIdentity,
        shared: Shared,
        *,
        on_end: Callable[[Tenure, Event | None, BaseException | None], None],
    ) -> None:
        self.state = State.WAITING_FOR_PARENTS
        """Where in its lifecycle it is."""
        self.ended_by: Event | None = None
        self._on_end = on_end
        self._standing = standing = Standing(tenure, stream, shared, self)
        self._writer = CheckpointWriter(standing)
        self._reader = ShardReader(tenure.lease, standing)
        self._user = ShardDelivery(standing, self._reader, self._writer)
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._life: asyncio.Task[None] | None = None
        self._is_over = False
        self._is_closed = False
        self._error: BaseException | None = None

    @property
    def shard_id(self) -> str:
        return self._standing.shard_id

    @property
    def user_code_running(self) -> bool:
        """Whether user code of this tenure runs (or waits for a thread) at this moment."""
        return self._user.is_running

    @property
    def records_processed(self) -> int:
        """Records whose ``process_records`` returned in this tenure."""
        return self._user.records_processed

    def status(self) -> ShardStatus:
        """A snapshot for health and the status line."""
        standing, shared = self._standing, self._standing.shared
        failing = self._user.failing_since
        lag = self._lag_seconds()
        return ShardStatus(
            shard_id=self.shard_id,
            stage=self._stage(),
            lag_seconds=lag,
            retention_left_seconds=None if lag is None else standing.stream.retention_seconds - lag,
            last_record_at=self._user.last_record_at,
            oldest_failing_batch_seconds=None if failing is None else shared.clock.monotonic() - failing,
            stuck_seconds=shared.watch.oldest_seconds(standing),
            parked_keys=self._user.parked_keys,
            is_overdue=self.shard_id in shared.overdue.shards,
        )

    def _lag_seconds(self) -> float | None:
        """Age of the oldest record that is not done, parked ones included; None where it is not known."""
        lag, oldest_at = self._reader.lag_seconds(), self._user.oldest_at
        if oldest_at is None:
            return lag
        return max(lag or 0.0, self._standing.shared.clock.wall() - oldest_at)

    # Life: what happens is noted, and a task goes through with it

    def begin(self) -> None:
        """Begin to live; to be called once."""
        self._live_on()

    def request_stop(self, reason: StopReason | None) -> None:
        """What is asked of the tenure now; None: nothing any more."""
        self._standing.request_stop(reason)

    def abandon(self) -> None:
        """End without a checkpoint, as soon as user code that runs has ended."""
        if not self._is_over:
            self._end(None)

    def look(self) -> None:
        """For its parts: something changed: a task where there is work, a turn on the wheel where there is room."""
        if not self._is_over and self.state is not State.DONE:
            self._reader.look()
            if self._life is None and self._has_work():
                self._live_on()

    def _has_work(self) -> bool:
        """Whether a shard that rests has anything to go through."""
        return self._standing.must_stop() or (
            self.state is State.PROCESSING
            and (self._user.has_work or self._reader.has_empty or self._reader.finished is not None)
        )

    def _live_on(self) -> None:
        self._life = self.start(self._live(), "life")

    async def _live(self) -> None:
        """Go from state to state; ends at the last, or where nothing is to be done until something changes."""
        try:
            while self.state is not State.DONE:
                event = await self._steps[self.state](self)
                if event is None:
                    break
                self.state = moved(self.shard_id, self.state, event)
                self.ended_by = event
                self._standing.notify()
        except BaseException:
            await self._user.close()
            raise
        finally:
            self._user.rest()
            self._life = None  # nothing between the last look and this: who notices more begins another

    def start(self, work: Coroutine[Any, Any, None], part: str) -> asyncio.Task[None]:
        """For its parts: see ``Owner``."""
        context = self._standing.shared.context
        task = asyncio.get_running_loop().create_task(work, name=f"{self.shard_id} {part}", context=context)
        self._tasks = (*self._tasks, task)
        task.add_done_callback(self._task_ended, context=context)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks = tuple(each for each in self._tasks if each is not task)
        if task is self._life:
            self._life = None  # cancelled before its first step
        if not task.cancelled() and (self._is_over or task.exception() is not None or self.state is State.DONE):
            self._end(task.exception())
        elif task.cancelled():
            name = task.get_name()
            self._end(None if self._is_over else RuntimeError(f"Task {name!r} was cancelled, and not by its worker."))

    def _end(self, error: BaseException | None) -> None:
        """Nothing begins any more; what is under way is cancelled, and waited for.

        User code first: a thread that waits for its checkpoint ends only once that is stored.
        """
        self._error = self._error or error
        if not self._is_over:
            self._is_over = True
            if self._life is not None:
                self._life.cancel()
        if self._life is not None:
            return
        if not self._is_closed:
            self._close()
        if not self._tasks:
            self._on_end(self._standing.tenure, self.ended_by if self.state is State.DONE else None, self._error)

    def _close(self) -> None:
        self._is_closed = True
        self._writer.close()
        self._reader.close()
        self._standing.shared.watch.end_all(self._standing)
        for task in self._tasks:
            task.cancel()

    # One step a state; each returns the event that ends it.

    async def _wait_for_parents(self) -> Event:
        with self._standing.stage("waiting_for_parents"):
            while True:
                if (event := await self._leave_early()) is not None:
                    return event
                if await self._standing.parents_done():
                    return Event.PARENTS_DONE

    async def _initialize(self) -> Event:
        while True:
            if (event := await self._leave_early()) is not None:
                await self._user.lose()  # of several lanes some may have been initialized
                return event
            if await self._user.initialize():
                self._standing.tenure.started()
                return Event.INITIALIZED

    async def _process(self) -> Event | None:
        while not self._standing.must_stop():
            if self._user.has_work:
                await self._user.deliver()
            elif (empty := self._reader.take_empty()) is not None:
                await self._user.deliver_nothing(empty.millis_behind_latest)
            elif self._reader.finished is None:
                return None
            else:
                ended = isinstance(self._reader.finished, EndOfShard)
                return Event.END_REACHED if ended else Event.GAP_FOUND
        await self._user.close()
        return self._stopped()

    async def _leave_early(self) -> Event | None:
        while self._standing.must_stop():
            if self._standing.is_lost():
                return Event.LEASE_LOST
            if await self._standing.let_go_early():
                return Event.LET_GO
        return None

    def _stopped(self) -> Event:
        return Event.LEASE_LOST if self._standing.is_lost() else Event.STOP_REQUESTED

    async def _stay_at_gap(self) -> Event | None:
        if not self._standing.must_stop():
            self._standing.begin_stage("stopped_at_gap")
            return None
        self._standing.end_stage("stopped_at_gap")
        return self._stopped()

    async def _stop(self) -> Event:
        """Say so to user code, store what is done, let the lease go: in this order, whatever fails on the way."""
        with self._standing.stage("stopping"):
            await self._user.shut_down()
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
        if not await self._user.end():
            return self._stopped()
        await self._writer.flush()
        with self._standing.stage("ending"):
            finished = self._reader.finished
            named = finished.children if isinstance(finished, EndOfShard) else None
            end = ShardEnd(self._standing)
            children = await end.find_children(named)
            if children is None:
                return self._stopped()
            return Event.END_STORED if await end.store(children) else Event.LEASE_LOST

    async def _lose(self) -> Event:
        await self._user.lose()
        return Event.LOSS_TOLD

    _steps: ClassVar[dict[State, Callable[[ShardConsumer], Awaitable[Event | None]]]] = {
        State.WAITING_FOR_PARENTS: _wait_for_parents,
        State.INITIALIZING: _initialize,
        State.PROCESSING: _process,
        State.STOPPED_AT_GAP: _stay_at_gap,
        State.STOPPING: _stop,
        State.ENDING: _finish,
        State.LOSING: _lose,
    }

    def may_read(self) -> bool:
        """For its parts: see ``Owner``."""
        is_reading = self.state is State.PROCESSING or self.state is State.INITIALIZING
        return is_reading and not self._is_over and not self._standing.must_stop()

    def _stage(self) -> ShardStage:
        if self.state is State.PROCESSING and not self._user.is_running:
            if self._user.parked_keys and isinstance(self._reader.finished, EndOfShard):
                return "parked_at_end"
            if self._user.failing_since is None:
                return "reading"
        return _STAGES[self.state]
