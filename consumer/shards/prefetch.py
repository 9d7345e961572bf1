"""Reads one shard ahead of its processor: in order, without repeats, within bounds, and never giving up silently."""

from __future__ import annotations

import asyncio
import logging
import math

from consumer.errors import (
    DataTrimmed,
    IteratorExpired,
    ShardNotFound,
    StreamAccessDenied,
    StreamCredentials,
    StreamThrottled,
)
from consumer.hooks import GapFound, PageRead, RecordsSkipped, Throttled
from consumer.retry import Backoff, is_transient
from consumer.shards.checkpointer import place_of
from consumer.shards.ends import EndOfShard, StoppedAtGap
from consumer.shards.position import (
    Doubt,
    after,
    doubt_about,
    fresh,
    is_at_tip,
    lag_seconds,
    pause_seconds,
    start_position,
)
from consumer.shards.read_ahead import HeldPage, ReadAhead
from consumer.shards.scope import Scope
from consumer.streams.source import Page, Position, StreamIdentity
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease

__all__ = ["ShardReader"]

_log = logging.getLogger("leasehold.shards")
_STAGE = "reading"
_LEAST_PAGE_LIMIT = 1000
_KEPT_SECONDS = 23 * 3600.0  # DynamoDB keeps a shard's records for 24 h, and the shard as long after its end
_LOG_EVERY_SECONDS = 60.0


class ShardReader:
    """Reads one tenure's shard ahead of its processor, a page each time the worker's wheel says that its turn has come.

    It is on the wheel where a read may be made, and nowhere else while it may not: ``look`` is called after each change
    of whether it may (a stop was requested), which pauses it without losing its place. Until
    any reader of this worker was answered a refusal of access is raised, for whoever starts the worker should hear of
    it; later it is waited out, since permissions and credentials come back.
    """

    __slots__ = (
        "_above",
        "_ahead",
        "_at_tip",
        "_backoff",
        "_doubt",
        "_drop_before",
        "_empty_in_a_row",
        "_failures",
        "_gap_from",
        "_gave_up",
        "_iterator",
        "_lag",
        "_lag_at",
        "_last_read",
        "_logged_at",
        "_on_wheel",
        "_operation",
        "_pin",
        "_read_at",
        "_reading",
        "_refused",
        "_scope",
        "_shared",
        "_stream",
        "_wait_until",
        "finished",
    )

    def __init__(self, stream: StreamIdentity, lease: Lease, scope: Scope) -> None:
        shared = scope.shared
        aggregates = stream.view_type is None
        self._shared = shared
        self._stream = stream
        self._scope = scope
        self._ahead = ReadAhead(shared.budget)
        self._pin = start_position(lease, aggregates=aggregates)
        self._above = lease.checkpoint if lease.checkpoint.is_number else None
        self._doubt = doubt_about(lease, aggregates=aggregates, now=shared.clock.wall())
        self._last_read: Checkpoint | None = None
        self._drop_before: float | None = None
        self._iterator: str | None = None
        self._operation = "GetShardIterator"
        self._empty_in_a_row = 0
        self._read_at = -math.inf
        self._wait_until = -math.inf
        self._backoff: Backoff | None = None
        self._refused: Backoff | None = None
        self._failures = 0
        self._logged_at = -math.inf
        self._lag: float | None = None
        self._lag_at = shared.clock.monotonic()
        self._at_tip = False
        self._gap_from: str | None = None
        self._on_wheel = False
        self._reading: asyncio.Task[None] | None = None
        self._gave_up = False
        self.finished: EndOfShard | StoppedAtGap | None = None
        """Set once nothing more will be read; pages may still be held then."""

    @property
    def front(self) -> HeldPage | None:
        """The oldest page not yet processed."""
        return self._ahead.front

    def done_with(self, count: int) -> None:
        """So many records of the front page are processed."""
        self._ahead.done_with(count)
        self.look()

    def lag_seconds(self) -> float | None:
        """Age of the oldest record not yet processed; grows while a read hangs or fails. None: not known."""
        front = self._ahead.front
        timestamp = None if front is None else front.records[front.offset].timestamp
        unprocessed = None if timestamp is None else max(0.0, self._shared.clock.wall() - timestamp)
        unread = self._lag
        if unread is not None:
            unread += self._scope.progress.seconds(_STAGE)
        return max((lag for lag in (unprocessed, unread) if lag is not None), default=None)

    def look(self) -> None:
        """Get on the wheel where a read may be made, now or once its pause is over."""
        if self._on_wheel:
            return
        if not self._scope.owner.may_read():
            self._rest()
        elif self.finished is None:
            now = self._shared.clock.monotonic()
            if self._wait_until > now or self._ahead.has_room(self.look):
                self._on_wheel = True
                wheel = self._shared.openings if self._iterator is None else self._shared.wheel
                wheel.put(self, max(self._wait_until, now))

    def begin(self) -> asyncio.Task[None] | None:
        """Its turn on the wheel: begin to read, unless there is no room or a stop came first."""
        if not self._scope.owner.may_read():
            self._rest()
        elif self._ahead.has_room(self.look):
            self._gave_up = False
            self._reading = self._scope.owner.start(self._take_turn(), "reader")
            return self._reading
        self._on_wheel = False
        return None

    def give_up(self) -> None:
        """The turn takes too long: it has failed, and another one is taken."""
        if self._reading is not None:
            if self._gave_up:
                self._reading.uncancel()  # it does not listen: told again, but counted once
            self._gave_up = True
            self._reading.cancel()

    def close(self) -> None:
        """Nothing is read any more; what is held is of no use to anybody."""
        self._ahead.close()

    def _rest(self) -> None:
        """Nothing is read while a stop is asked for; that is no sign of hanging."""
        self._ahead.withdraw()
        self._scope.progress.end(_STAGE)

    async def _take_turn(self) -> None:
        try:
            await self._turn()
        finally:
            self._ahead.withdraw()  # what no page was kept for
            self._on_wheel = False
            self._reading = None
        self._scope.notify()

    async def _turn(self) -> None:
        self._scope.progress.begin(_STAGE)
        try:
            if self._iterator is None:
                await self._open()
                return  # to be read at its next turn, if the lease is not lost by then
            page = await self._read()
        except asyncio.CancelledError:
            if not self._gave_up or (self._reading is not None and self._reading.uncancel()):
                raise  # by its owner, or by that, too
            self._failed(TimeoutError())
        except IteratorExpired:
            self._iterator = None
            self._pause(self._next_pause() if self._failures else 0.0)
            self._failures += 1
        except DataTrimmed:
            self._trimmed()
        except ShardNotFound:
            self._gone()
        except Exception as error:
            self._failed(error)
        else:
            self._accept(page)

    async def _open(self) -> None:
        self._operation = "GetShardIterator"
        position = self._pin if self._last_read is None else self._after(self._last_read)
        opened = await self._shared.source.iterator(self._stream, self._scope.shard_id, position)
        self._iterator = opened.iterator
        if self._last_read is None:
            self._drop_before = opened.drop_before
            if position.kind == "LATEST":
                # The word slides: an iterator that expires before the first record must not skip what came meanwhile.
                # Service times are whole seconds; nothing was delivered yet, so that a second too many repeats nothing.
                self._pin = Position("AT_TIMESTAMP", timestamp=math.floor(self._shared.clock.wall()) - 1.0)

    def _after(self, place: Checkpoint) -> Position:
        """Behind what was read. Kinesis says nothing when that was trimmed, and is asked for the last record again."""
        if self._stream.view_type is not None:
            return after(place)
        self._above, self._doubt = place, Doubt(str(place), place)
        return Position("AT_SEQUENCE_NUMBER", sequence_number=place.sequence_number)

    async def _read(self) -> Page:
        self._operation = "GetRecords"
        self._read_at = self._shared.clock.monotonic()
        assert self._iterator is not None
        limit = max(self._shared.config.max_records, _LEAST_PAGE_LIMIT)
        return await self._shared.source.read(self._stream, self._scope.shard_id, self._iterator, limit)

    def _accept(self, page: Page) -> None:
        self._shared.budget.was_answered = True
        self._failures = 0
        self._backoff = self._refused = None
        self._scope.progress.end(_STAGE)
        self._empty_in_a_row = 0 if page.records else self._empty_in_a_row + 1
        self._at_tip = is_at_tip(page)
        self._lag = lag_seconds(page, self._shared.clock.wall())
        self._lag_at = self._shared.clock.monotonic()
        self._report(page)
        self._look_for_gap(page)
        if page.records:
            self._keep(page)
        self._iterator = page.next_iterator
        if page.next_iterator is None:
            self.finished = EndOfShard(page.children)
        idle_wait = self._shared.config.idle_wait_seconds
        wait = pause_seconds(page, empty_in_a_row=self._empty_in_a_row, idle_wait_seconds=idle_wait)
        self._pause(wait * self._shared.random.uniform(0.9, 1.0))

    def _keep(self, page: Page) -> None:
        records = fresh(page.records, above=self._above, drop_before=self._drop_before)
        self._last_read = place_of(page.records[-1])
        if self._above is not None and self._last_read > self._above:
            self._above = None
        self._ahead.note_size(page.size_bytes)
        if not records:
            return
        if self._gap_from is not None:
            _log.warning(
                "Shard %s: after the gap from %s, reading goes on at %s.",
                self._scope.shard_id,
                self._gap_from,
                place_of(records[0]),
            )
            self._gap_from = None
        self._ahead.keep(records, page.millis_behind_latest)

    def _look_for_gap(self, page: Page) -> None:
        """Say so where the service may have gone on at its oldest record without a word."""
        doubt, ends = self._doubt, page.next_iterator is None
        if doubt is None or not (page.records or ends or page.millis_behind_latest == 0):
            return
        self._doubt = None
        first = place_of(page.records[0]) if page.records else None
        if doubt.is_settled_by(first) or not (page.records or ends):
            return  # an open shard without anything new has most likely been idle
        _log.error(
            "Shard %s: reading goes on at %s; the records between %s and it, if there were any, were trimmed from the "
            "stream before they were read, they are lost to this group.",
            self._scope.shard_id,
            first or "its end",
            doubt.place,
        )
        self._shared.hooks(GapFound(self._scope.shard_id, doubt.place, str(first or "SHARD_END"), stopped=False))

    def _report(self, page: Page) -> None:
        if page.skipped:
            self._shared.hooks(RecordsSkipped(self._scope.shard_id, page.skipped))
            _log.warning(
                "Shard %s: %d entries of a reply were too malformed to be records.", self._scope.shard_id, page.skipped
            )
        seconds = self._shared.clock.monotonic() - self._read_at
        self._shared.hooks(PageRead(self._scope.shard_id, len(page.records), page.size_bytes, seconds, self._lag))

    def _place(self) -> str:
        """The place after which records are wanted, for people."""
        place = self._last_read or self._above
        return self._pin.kind if place is None else str(place)

    def _trimmed(self) -> None:
        begun = self._last_read is not None or self._above is not None
        stopped = begun and self._shared.config.on_trimmed == "stop"
        place = self._place()
        self._shared.hooks(GapFound(self._scope.shard_id, place, "TRIM_HORIZON", stopped))
        self._iterator = self._doubt = None
        if stopped:
            _log.error(
                "Shard %s: the records after %s were trimmed from the stream before they were read, they are lost to "
                "this group. on_trimmed is stop: the shard is left unread and its lease is kept. To go on at the "
                "oldest record there is, restart with --on-trimmed skip.",
                self._scope.shard_id,
                place,
            )
            self._finish(StoppedAtGap(place))
            return
        _log.error(
            "Shard %s: records after %s were trimmed from the stream before they were read, they are lost to this "
            "group. Reading goes on at the oldest record there is (--on-trimmed skip).",
            self._scope.shard_id,
            place,
        )
        self._above = self._last_read or self._above
        self._last_read = None
        self._pin = Position("TRIM_HORIZON")
        self._gap_from = place
        self._pause(self._next_pause() if self._failures else 0.0)
        self._failures += 1

    def _gone(self) -> None:
        """The service does not know the shard any more: its end, and a gap unless everything had surely been read."""
        was_read = self._at_tip and self._shared.clock.monotonic() - self._lag_at < _KEPT_SECONDS
        if was_read and self._stream.view_type is not None:
            _log.info("Shard %s is gone from the stream; everything in it had been read.", self._scope.shard_id)
            self._finish(EndOfShard())
            return
        begun = self._last_read is not None or self._above is not None
        # A Kinesis stream can be deleted at any moment, with what came after the last read: too likely to be nothing
        # to stop for, too likely to be something to say nothing.
        stopped = begun and not was_read and self._shared.config.on_trimmed == "stop"
        place = self._place()
        self._shared.hooks(GapFound(self._scope.shard_id, place, "SHARD_END", stopped))
        _log.error(
            "Shard %s is gone from the stream, and its end had not been read: records after %s, if there were any, "
            "are lost to this group. %s",
            self._scope.shard_id,
            place,
            "on_trimmed is stop: its lease is kept; to go on with its children, restart with --on-trimmed skip."
            if stopped
            else "The shard counts as ended, its children go on.",
        )
        self._finish(StoppedAtGap(place) if stopped else EndOfShard())

    def _finish(self, finished: EndOfShard | StoppedAtGap) -> None:
        self.finished = finished
        self._scope.progress.end(_STAGE)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StreamAccessDenied | StreamCredentials) and not self._shared.budget.was_answered:
            raise error
        self._failures += 1
        if isinstance(error, StreamThrottled):
            self._shared.hooks(Throttled(self._scope.shard_id, self._operation))
        transient = is_transient(error) or isinstance(error, TimeoutError)
        self._pause(self._next_pause() if transient else self._next_long_pause())
        now = self._shared.clock.monotonic()
        if now - self._logged_at < _LOG_EVERY_SECONDS or (transient and self._failures < 3):
            return
        self._logged_at = now
        _log.log(
            logging.WARNING if transient else logging.ERROR,
            "Shard %s can't be read: %s failed %d times in a row, now with %s (%s). It is tried for ever from %s; "
            "nothing is skipped, but what is not read within the stream's retention is lost.",
            self._scope.shard_id,
            self._operation,
            self._failures,
            type(error).__name__,
            error,
            self._place(),
        )

    def _next_pause(self) -> float:
        """Before what failed is tried again, where that may soon help."""
        self._backoff = self._backoff or Backoff(self._shared.random, 0.25, 5.0)
        return self._backoff.next_seconds()

    def _next_long_pause(self) -> float:
        """The same, where somebody has to do something first."""
        self._refused = self._refused or Backoff(self._shared.random, 2.0, 60.0)
        return self._refused.next_seconds()

    def _pause(self, seconds: float) -> None:
        """Before the next turn; the service's own limit of reads is kept in any case."""
        self._wait_until = self._shared.clock.monotonic() + seconds
        if rate := self._shared.source.max_reads_per_second:
            self._wait_until = max(self._wait_until, self._read_at + 1.0 / rate)
