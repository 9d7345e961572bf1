"""Reads one shard ahead of its processor: in order, without repeats, within bounds, and never giving up silently."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consumer.config import WorkerConfig
from consumer.errors import (
    DataTrimmed,
    IteratorExpired,
    ShardNotFound,
    StreamAccessDenied,
    StreamCredentials,
    StreamThrottled,
)
from consumer.hooks import GapFound, PageRead, RecordsSkipped, Throttled
from consumer.record import Record
from consumer.retry import Backoff, is_transient
from consumer.shards.budget import ByteBudget, Grant
from consumer.shards.checkpointer import place_of
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
from consumer.shards.scope import Scope
from consumer.streams.source import Page, Position, RecordSource, Shard, StreamIdentity
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease

__all__ = ["EndOfShard", "HeldPage", "ShardReader", "StoppedAtGap"]

_log = logging.getLogger("leasehold.shards")
_STAGE = "reading"
_PAGES_HELD = 4  # one always, three more by budget: tiny pages cost more than their bytes
_FIRST_GUESS_BYTES = 1024 * 1024  # the most a page of DynamoDB Streams holds
_CALL_LIMIT_SECONDS = 75.0  # above botocore's own time-outs: only for a call that hangs beyond them
_LEAST_PAGE_LIMIT = 1000
_KEPT_SECONDS = 23 * 3600.0  # DynamoDB keeps a shard's records for 24 h, and the shard as long after its end
_LOG_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EndOfShard:
    """The shard has no further records. ``children`` as its last page named them, None where it did not."""

    children: tuple[Shard, ...] | None = None


@dataclass(frozen=True, slots=True)
class StoppedAtGap:
    """Records were trimmed before they could be read, and ``on_trimmed=stop`` asks to leave the shard unread."""

    from_position: str


@dataclass(slots=True)
class HeldPage:
    """Records that were read and are not processed yet; ``offset`` counts those that are."""

    records: Sequence[Record]
    millis_behind_latest: int | None
    grant: Grant | None = field(repr=False, default=None)
    offset: int = 0


class ShardReader:
    """Keeps pages ready for one tenure of one shard. ``run`` reads until the shard ends or the task is cancelled.

    Each shard may always hold one page, the oldest; further ones are charged to the worker's ``ByteBudget``.
    ``may_read`` pauses it (a stop was requested) without losing its place. Until any reader of this worker was answered
    a refusal of access is raised, for whoever starts the worker should hear of it; later it is waited out, since
    permissions and credentials come back.
    """

    def __init__(
        self,
        source: RecordSource,
        stream: StreamIdentity,
        lease: Lease,
        config: WorkerConfig,
        scope: Scope,
        *,
        budget: ByteBudget,
        may_read: Callable[[], bool],
    ) -> None:
        self._source = source
        self._stream = stream
        self._shard_id = scope.shard_id
        self._config = config
        self._budget = budget
        self._signal = scope.signal
        self._progress = scope.progress
        self._may_read = may_read
        self._clock = scope.clock
        self._random = scope.random
        self._hooks = scope.hooks
        self._pages: deque[HeldPage] = deque()
        self._pin = start_position(lease, aggregates=stream.view_type is None)
        self._above = lease.checkpoint if lease.checkpoint.is_number else None
        self._doubt = doubt_about(lease, aggregates=stream.view_type is None, now=scope.clock.wall())
        self._last_read: Checkpoint | None = None
        self._drop_before: float | None = None
        self._iterator: str | None = None
        self._operation = "GetShardIterator"
        self._size_guess = _FIRST_GUESS_BYTES
        self._empty_in_a_row = 0
        self._read_at = -math.inf
        self._wait_until = -math.inf
        self._backoff = Backoff(scope.random, 0.25, 5.0)
        self._refused = Backoff(scope.random, 2.0, 60.0)
        self._failures = 0
        self._logged_at = -math.inf
        self._lag: float | None = None
        self._lag_at = scope.clock.monotonic()
        self._at_tip = False
        self._gap_from: str | None = None
        self.finished: EndOfShard | StoppedAtGap | None = None
        """Set once nothing more will be read; pages may still be held then."""

    @property
    def front(self) -> HeldPage | None:
        """The oldest page not yet processed."""
        return self._pages[0] if self._pages else None

    def release(self) -> None:
        """The front page is processed; the next one is the page that every shard may hold, and is charged no longer."""
        page = self._pages.popleft()
        for each in (page, *list(self._pages)[:1]):
            if each.grant is not None:
                each.grant.give_back()
                each.grant = None
        self._signal.notify()

    def lag_seconds(self) -> float | None:
        """Age of the oldest record not yet processed; grows while a read hangs or fails. None: not known."""
        timestamp = self._pages[0].records[self._pages[0].offset].timestamp if self._pages else None
        unprocessed = None if timestamp is None else max(0.0, self._clock.wall() - timestamp)
        unread = self._lag
        if unread is not None:
            unread += self._progress.seconds(_STAGE)
        return max((lag for lag in (unprocessed, unread) if lag is not None), default=None)

    async def run(self) -> None:
        """Read until the shard has ended, a gap stops it, or the task is cancelled."""
        try:
            while self.finished is None:
                pause = self._wait_until - self._clock.monotonic()
                if pause > 0:
                    await self._clock.sleep(pause)
                await self._signal.until(self._may_read)
                await self._turn_with_room()
        finally:
            for page in self._pages:
                if page.grant is not None:
                    page.grant.give_back()
                    page.grant = None

    async def _turn_with_room(self) -> None:
        """One read, as soon as there is room for its page; nothing when a stop comes first."""
        if not self._pages:
            await self._turn(None)
            return
        if len(self._pages) >= _PAGES_HELD:
            await self._signal.until(lambda: len(self._pages) < _PAGES_HELD)
            return
        grant = self._budget.ask(self._size_guess, self._signal.notify)
        try:
            await self._signal.until(lambda: grant.granted or not self._pages or not self._may_read())
            if self._may_read():
                await self._turn(grant)
        finally:
            if not any(page.grant is grant for page in self._pages):
                grant.give_back()

    async def _turn(self, grant: Grant | None) -> None:
        self._progress.begin(_STAGE)
        try:
            async with self._clock.timeout(_CALL_LIMIT_SECONDS):
                if self._iterator is None:
                    await self._open()
                if not self._may_read():  # opening took its time, and the lease may be lost by now
                    self._progress.end(_STAGE)
                    return
                page = await self._read()
        except IteratorExpired:
            self._iterator = None
            self._pause(self._backoff.next_seconds() if self._failures else 0.0)
            self._failures += 1
        except DataTrimmed:
            self._trimmed()
        except ShardNotFound:
            self._gone()
        except Exception as error:
            self._failed(error)
        else:
            self._accept(page, grant)

    async def _open(self) -> None:
        self._operation = "GetShardIterator"
        position = self._pin if self._last_read is None else self._after(self._last_read)
        opened = await self._source.iterator(self._stream, self._shard_id, position)
        self._iterator = opened.iterator
        if self._last_read is None:
            self._drop_before = opened.drop_before
            if position.kind == "LATEST":
                # The word slides: an iterator that expires before the first record must not skip what came meanwhile.
                # Service times are whole seconds; nothing was delivered yet, so that a second too many repeats nothing.
                self._pin = Position("AT_TIMESTAMP", timestamp=math.floor(self._clock.wall()) - 1.0)

    def _after(self, place: Checkpoint) -> Position:
        """Behind what was read. Kinesis says nothing when that was trimmed, and is asked for the last record again."""
        if self._stream.view_type is not None:
            return after(place)
        self._above, self._doubt = place, Doubt(str(place), place)
        return Position("AT_SEQUENCE_NUMBER", sequence_number=place.sequence_number)

    async def _read(self) -> Page:
        self._operation = "GetRecords"
        rate = self._source.max_reads_per_second
        pace = self._read_at + 1.0 / rate - self._clock.monotonic() if rate else 0.0
        if pace > 0:
            await self._clock.sleep(pace)
        self._read_at = self._clock.monotonic()
        assert self._iterator is not None
        limit = max(self._config.max_records, _LEAST_PAGE_LIMIT)
        return await self._source.read(self._stream, self._shard_id, self._iterator, limit)

    def _accept(self, page: Page, grant: Grant | None) -> None:
        self._budget.was_answered = True
        self._failures = 0
        self._backoff.reset()
        self._refused.reset()
        self._progress.end(_STAGE)
        self._empty_in_a_row = 0 if page.records else self._empty_in_a_row + 1
        self._at_tip = is_at_tip(page)
        self._lag = lag_seconds(page, self._clock.wall())
        self._lag_at = self._clock.monotonic()
        self._report(page)
        self._look_for_gap(page)
        if page.records:
            self._keep(page, grant)
        self._iterator = page.next_iterator
        if page.next_iterator is None:
            self.finished = EndOfShard(page.children)
        wait = pause_seconds(
            page, empty_in_a_row=self._empty_in_a_row, idle_wait_seconds=self._config.idle_wait_seconds
        )
        self._pause(wait * self._random.uniform(0.9, 1.0))
        self._signal.notify()

    def _keep(self, page: Page, grant: Grant | None) -> None:
        records = fresh(page.records, above=self._above, drop_before=self._drop_before)
        self._last_read = place_of(page.records[-1])
        if self._above is not None and self._last_read > self._above:
            self._above = None
        self._size_guess = page.size_bytes
        if not records:
            return
        if self._gap_from is not None:
            _log.warning(
                "Shard %s: after the gap from %s, reading goes on at %s.",
                self._shard_id,
                self._gap_from,
                place_of(records[0]),
            )
            self._gap_from = None
        if grant is not None and self._pages:
            grant.settle(page.size_bytes)
            self._pages.append(HeldPage(records, page.millis_behind_latest, grant))
        else:
            self._pages.append(HeldPage(records, page.millis_behind_latest))

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
            self._shard_id,
            first or "its end",
            doubt.place,
        )
        self._hooks(GapFound(self._shard_id, doubt.place, str(first or "SHARD_END"), stopped=False))

    def _report(self, page: Page) -> None:
        if page.skipped:
            self._hooks(RecordsSkipped(self._shard_id, page.skipped))
            _log.warning(
                "Shard %s: %d entries of a reply were too malformed to be records.", self._shard_id, page.skipped
            )
        seconds = self._clock.monotonic() - self._read_at
        self._hooks(PageRead(self._shard_id, len(page.records), page.size_bytes, seconds, self._lag))

    def _place(self) -> str:
        """The place after which records are wanted, for people."""
        place = self._last_read or self._above
        return self._pin.kind if place is None else str(place)

    def _trimmed(self) -> None:
        begun = self._last_read is not None or self._above is not None
        stopped = begun and self._config.on_trimmed == "stop"
        place = self._place()
        self._hooks(GapFound(self._shard_id, place, "TRIM_HORIZON", stopped))
        self._iterator = self._doubt = None
        if stopped:
            _log.error(
                "Shard %s: the records after %s were trimmed from the stream before they were read, they are lost to "
                "this group. on_trimmed is stop: the shard is left unread and its lease is kept. To go on at the "
                "oldest record there is, restart with --on-trimmed skip.",
                self._shard_id,
                place,
            )
            self._finish(StoppedAtGap(place))
            return
        _log.error(
            "Shard %s: records after %s were trimmed from the stream before they were read, they are lost to this "
            "group. Reading goes on at the oldest record there is (--on-trimmed skip).",
            self._shard_id,
            place,
        )
        self._above = self._last_read or self._above
        self._last_read = None
        self._pin = Position("TRIM_HORIZON")
        self._gap_from = place
        self._pause(self._backoff.next_seconds() if self._failures else 0.0)
        self._failures += 1

    def _gone(self) -> None:
        """The service does not know the shard any more: its end, and a gap unless everything had surely been read."""
        was_read = self._at_tip and self._clock.monotonic() - self._lag_at < _KEPT_SECONDS
        if was_read and self._stream.view_type is not None:
            _log.info("Shard %s is gone from the stream; everything in it had been read.", self._shard_id)
            self._finish(EndOfShard())
            return
        begun = self._last_read is not None or self._above is not None
        # A Kinesis stream can be deleted at any moment, with what came after the last read: too likely to be nothing
        # to stop for, too likely to be something to say nothing.
        stopped = begun and not was_read and self._config.on_trimmed == "stop"
        place = self._place()
        self._hooks(GapFound(self._shard_id, place, "SHARD_END", stopped))
        _log.error(
            "Shard %s is gone from the stream, and its end had not been read: records after %s, if there were any, "
            "are lost to this group. %s",
            self._shard_id,
            place,
            "on_trimmed is stop: its lease is kept; to go on with its children, restart with --on-trimmed skip."
            if stopped
            else "The shard counts as ended, its children go on.",
        )
        self._finish(StoppedAtGap(place) if stopped else EndOfShard())

    def _finish(self, finished: EndOfShard | StoppedAtGap) -> None:
        self.finished = finished
        self._progress.end(_STAGE)
        self._signal.notify()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StreamAccessDenied | StreamCredentials) and not self._budget.was_answered:
            raise error
        self._failures += 1
        if isinstance(error, StreamThrottled):
            self._hooks(Throttled(self._shard_id, self._operation))
        transient = is_transient(error) or isinstance(error, TimeoutError)
        self._pause((self._backoff if transient else self._refused).next_seconds())
        now = self._clock.monotonic()
        if now - self._logged_at < _LOG_EVERY_SECONDS or (transient and self._failures < 3):
            return
        self._logged_at = now
        _log.log(
            logging.WARNING if transient else logging.ERROR,
            "Shard %s can't be read: %s failed %d times in a row, now with %s (%s). It is tried for ever from %s; "
            "nothing is skipped, but what is not read within the stream's retention is lost.",
            self._shard_id,
            self._operation,
            self._failures,
            type(error).__name__,
            error,
            self._place(),
        )

    def _pause(self, seconds: float) -> None:
        self._wait_until = self._clock.monotonic() + seconds
