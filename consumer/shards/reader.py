"""Reads one shard ahead of its processor: in order, without repeats, within bounds, and never giving up silently."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import Final

from consumer.delivery.ground import Taken
from consumer.errors import DataTrimmed, IteratorExpired, ShardNotFound, StreamAccessDenied, StreamCredentials
from consumer.hooks import PageRead, RecordsSkipped
from consumer.shards.checkpointer import place_of
from consumer.shards.ends import EndOfShard, StoppedAtGap
from consumer.shards.losses import tell_end_of_gap, tell_gone, tell_silent_gap, tell_trimmed
from consumer.shards.position import EMPTY_PAGES_COUNTED, is_at_tip, lag_seconds, pause_seconds
from consumer.shards.read_ahead import HeldPage, ReadAhead
from consumer.shards.read_place import ReadPlace
from consumer.shards.read_trouble import ReadTrouble
from consumer.shards.scope import Scope
from consumer.streams.source import Page
from lease_store.lease import Lease

__all__ = ["EmptyRead", "ShardReader"]

_log = logging.getLogger("leasehold.shards")
_STAGE: Final = "reading"
_NEVER: Final = -math.inf
_LEAST_PAGE_LIMIT: Final = 1000
_KEPT_SECONDS: Final = 23 * 3600.0  # DynamoDB keeps a shard's records for 24 h, and the shard as long after its end


@dataclass(frozen=True, slots=True)
class EmptyRead:
    """What a read said that found nothing."""

    millis_behind_latest: int | None


class ShardReader:
    """Reads one tenure's shard ahead of its processor, a page each time the worker's wheel says that its turn has come.

    It is on the wheel where a read may be made, and nowhere else while it may not: ``look`` is called after each change
    of whether it may (a stop was requested), which pauses it without losing its place. Until
    any reader of this worker was answered a refusal of access is raised, for whoever starts the worker should hear of
    it; later it is waited out, since permissions and credentials come back.
    """

    __slots__ = (
        "_ahead",
        "_empty",
        "_empty_in_a_row",
        "_gave_up",
        "_iterator",
        "_lag",
        "_on_wheel",
        "_place",
        "_reading",
        "_scope",
        "_tip_seen_at",
        "_trouble",
        "_wait_until",
        "finished",
    )

    def __init__(self, lease: Lease, scope: Scope) -> None:
        self._scope = scope
        self._ahead: ReadAhead | None = None  # while pages are held: most shards are idle
        self._place = ReadPlace(lease, aggregates=scope.stream.view_type is None, now=scope.shared.clock.wall())
        self._trouble: ReadTrouble | None = None
        self._iterator: str | None = None
        self._empty_in_a_row = 0
        self._wait_until = _NEVER
        self._lag: float | None = None
        self._tip_seen_at = _NEVER
        self._on_wheel = False
        self._reading: asyncio.Task[None] | None = None
        self._gave_up = False
        self._empty: EmptyRead | None = None
        self.finished: EndOfShard | StoppedAtGap | None = None
        """Set once nothing more will be read; pages may still be held then."""

    @property
    def front(self) -> HeldPage | None:
        """The oldest page not yet processed."""
        return None if self._ahead is None else self._ahead.front

    @property
    def is_at_end(self) -> bool:
        """Whether everything was read and taken that will ever come."""
        return self.finished is not None and not self.has_untaken

    @property
    def has_untaken(self) -> bool:
        """Whether records wait to be taken."""
        return self._ahead is not None and self._ahead.untaken is not None

    @property
    def has_empty(self) -> bool:
        """Whether the last read found nothing, and user code is to hear of that (``empty_batches``)."""
        return self._empty is not None

    def take_empty(self) -> EmptyRead | None:
        """What that read said; to be told once."""
        empty, self._empty = self._empty, None
        return empty

    def take(self, most: int) -> Taken | None:
        """See ``delivery.ground.Inflow``."""
        page = None if self._ahead is None else self._ahead.untaken
        return None if page is None else Taken(page.take(most), page.millis_behind_latest)

    def done_with(self, count: int) -> None:
        """See ``delivery.ground.Inflow``."""
        assert self._ahead is not None
        self._ahead.done_with(count)
        if self._ahead.front is None:
            self._ahead.withdraw()  # a page that comes now is the one that every shard may hold
            self._ahead = None
        self.look()

    def lag_seconds(self) -> float | None:
        """Age of the oldest record not yet processed; grows while a read hangs or fails. None: not known."""
        front = self.front
        timestamp = None if front is None else front.records[front.offset].timestamp
        unprocessed = None if timestamp is None else max(0.0, self._scope.shared.clock.wall() - timestamp)
        unread = self._lag
        if unread is not None:
            unread += self._scope.shared.watch.seconds(self._scope, _STAGE)
        return max((lag for lag in (unprocessed, unread) if lag is not None), default=None)

    def look(self) -> None:
        """Get on the wheel where a read may be made, now or once its pause is over."""
        if self._on_wheel:
            return
        if not self._scope.owner.may_read():
            self._rest()
        elif self.finished is None:
            shared = self._scope.shared
            now = shared.clock.monotonic()
            if self._wait_until > now or self._has_room():
                self._on_wheel = True
                wheel = shared.openings if self._iterator is None else shared.wheel
                wheel.put(self, max(self._wait_until, now))

    def begin(self) -> asyncio.Task[None] | None:
        """Its turn on the wheel: begin to read, unless there is no room or a stop came first."""
        if not self._scope.owner.may_read():
            self._rest()
        elif self._has_room():
            self._gave_up = False
            return self._scope.owner.start(self._take_turn(), "reader")
        self._on_wheel = False
        return None

    def give_up(self) -> None:
        """The turn takes too long: it has failed, and another one is taken."""
        if self._reading is not None:
            if self._gave_up:
                self._reading.uncancel()  # it does not listen: told again, but counted once
            self._gave_up = True
            self._reading.cancel()

    def __lt__(self, other: ShardReader) -> bool:
        """See ``wheel.Poll``."""
        return self._scope.shard_id < other._scope.shard_id

    def close(self) -> None:
        """Nothing is read any more; what is held is of no use to anybody."""
        if self._ahead is not None:
            self._ahead.close()

    def _has_room(self) -> bool:
        return self._ahead is None or self._ahead.has_room(self.look)

    def _withdraw(self) -> None:
        if self._ahead is not None:
            self._ahead.withdraw()

    def _rest(self) -> None:
        """Nothing is read while a stop is asked for; that is no sign of hanging."""
        self._withdraw()
        self._scope.end_stage(_STAGE)

    async def _take_turn(self) -> None:
        self._reading = asyncio.current_task()  # from here on it can be given up: before, nothing could tell by whom
        try:
            await self._turn()
        finally:
            self._withdraw()  # what no page was kept for
            self._on_wheel = False
            self._reading = None
        self._scope.notify()

    async def _turn(self) -> None:
        self._scope.begin_stage(_STAGE)
        try:
            if self._iterator is None:
                await self._open()
                return  # to be read at its next turn, if the lease is not lost by then
            began_at = self._scope.shared.clock.monotonic()
            page = await self._read(began_at)
        except asyncio.CancelledError:
            if not self._gave_up or (self._reading is not None and self._reading.uncancel()):
                raise  # by its owner, or by that, too
            self._failed(TimeoutError())
        except IteratorExpired:
            self._open_again()
        except DataTrimmed:
            self._trimmed()
        except ShardNotFound:
            self._gone()
        except Exception as error:
            self._failed(error)
        else:
            self._accept(page, began_at)

    async def _open(self) -> None:
        scope = self._scope
        opened = await scope.shared.source.iterator(scope.stream, scope.shard_id, self._place.position())
        self._iterator = opened.iterator
        self._place.opened(opened, scope.shared.clock.wall())

    async def _read(self, now: float) -> Page:
        assert self._iterator is not None
        scope, source, config = self._scope, self._scope.shared.source, self._scope.shared.config
        limit = max(config.batch_size, _LEAST_PAGE_LIMIT) * config.lanes  # at 5 reads a second, they would starve
        rate = source.max_reads_per_second
        self._wait_until = now + 1.0 / rate if rate else now  # the service's own limit is kept, whatever comes of it
        return await source.read(scope.stream, scope.shard_id, self._iterator, limit)

    def _accept(self, page: Page, began_at: float) -> None:
        shared = self._scope.shared
        now = shared.clock.monotonic()
        shared.budget.was_answered = True
        if self._trouble is not None:
            self._trouble = self._trouble.after_success(now)
        self._scope.end_stage(_STAGE)
        if page.records:
            self._empty_in_a_row = 0
        elif self._empty_in_a_row < EMPTY_PAGES_COUNTED:
            self._empty_in_a_row += 1
        self._tip_seen_at = now if is_at_tip(page) else _NEVER
        self._lag = lag_seconds(page, shared.clock.wall())
        self._report(page, now - began_at)
        self._keep(page)
        self._iterator = page.next_iterator
        if page.next_iterator is None:
            self.finished = EndOfShard(page.children)
        idle_wait = shared.config.idle_wait_seconds
        wait = pause_seconds(page, empty_in_a_row=self._empty_in_a_row, idle_wait_seconds=idle_wait)
        self._pause(wait * shared.random.uniform(0.9, 1.0), now)

    def _keep(self, page: Page) -> None:
        if (silent := self._place.silent_gap(page)) is not None:
            tell_silent_gap(self._scope, *silent)
        if not page.records:
            if self._scope.shared.config.empty_batches:
                self._empty = EmptyRead(page.millis_behind_latest)
            return
        self._empty = None
        records = self._place.take(page.records)
        if not records:
            return
        if (gap := self._place.gap_behind()) is not None:
            tell_end_of_gap(self._scope, gap, str(place_of(records[0])))
        if self._ahead is None:
            shared = self._scope.shared
            self._ahead = ReadAhead(shared.budget, lanes=shared.config.lanes)
        self._ahead.keep(records, page.size_bytes, page.millis_behind_latest)

    def _report(self, page: Page, seconds: float) -> None:
        hooks = self._scope.shared.hooks
        if page.skipped:
            hooks(RecordsSkipped(self._scope.shard_id, page.skipped))
            _log.warning(
                "Shard %s: %d entries of a reply were too malformed to be records.", self._scope.shard_id, page.skipped
            )
        hooks(PageRead(self._scope.shard_id, len(page.records), page.size_bytes, seconds, self._lag))

    def _trimmed(self) -> None:
        place = str(self._place)
        stopped = self._place.has_begun and self._stops_at_gaps
        tell_trimmed(self._scope, place, stopped=stopped)
        if stopped:
            self._finish(StoppedAtGap(place))
        else:
            self._place.trimmed()
            self._open_again()

    def _gone(self) -> None:
        """The service does not know the shard any more: its end, and a gap unless everything had surely been read."""
        was_read = self._scope.shared.clock.monotonic() - self._tip_seen_at < _KEPT_SECONDS
        if was_read and self._scope.stream.view_type is not None:
            _log.info("Shard %s is gone from the stream; everything in it had been read.", self._scope.shard_id)
            self._finish(EndOfShard())
            return
        # A Kinesis stream can be deleted at any moment, with what came after the last read: too likely to be nothing
        # to stop for, too likely to be something to say nothing.
        stopped = self._place.has_begun and not was_read and self._stops_at_gaps
        tell_gone(self._scope, str(self._place), stopped=stopped)
        self._finish(StoppedAtGap(str(self._place)) if stopped else EndOfShard())

    @property
    def _stops_at_gaps(self) -> bool:
        return self._scope.shared.config.on_trimmed == "stop"

    def _finish(self, finished: EndOfShard | StoppedAtGap) -> None:
        self._iterator = None
        self.finished = finished
        self._scope.end_stage(_STAGE)

    def _open_again(self) -> None:
        """What it read with is of no use any more."""
        self._iterator = None
        self._pause(self._in_trouble().iterator_lost(), self._scope.shared.clock.monotonic())

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StreamAccessDenied | StreamCredentials) and not self._scope.shared.budget.was_answered:
            raise error
        operation = "GetShardIterator" if self._iterator is None else "GetRecords"
        pause = self._in_trouble().failed(error, operation, str(self._place))
        self._pause(pause, self._scope.shared.clock.monotonic())

    def _in_trouble(self) -> ReadTrouble:
        self._trouble = self._trouble or ReadTrouble(self._scope)
        return self._trouble

    def _pause(self, seconds: float, now: float) -> None:
        """Before the next turn."""
        self._wait_until = max(self._wait_until, now + seconds)
