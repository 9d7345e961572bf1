"""One lane of a shard: its records in order through one processor, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from consumer.delivery.attempts import Attempts
from consumer.delivery.batching import Run, Waiting
from consumer.delivery.books import Books
from consumer.delivery.breaker import Unit
from consumer.delivery.claims import Claims
from consumer.delivery.giving_up import GivingUp
from consumer.delivery.ground import Code, Ground, Policy
from consumer.delivery.lane_keys import LaneKeys, unit_of
from consumer.delivery.next_step import Failing, Step, is_searched, next_step, split, told
from consumer.delivery.pace import Pace
from consumer.delivery.parking import ParkedKey, Room
from consumer.delivery.reading import AllDone, Busy, Reading, SomeFailed
from consumer.delivery.telling import tell_failed
from consumer.delivery.turns import Piece, Turn

__all__ = ["Lane"]

_PROOF_POLL_SECONDS: Final = 1.0
_TOLD_EVERY_SECONDS: Final = 60.0


class Lane:
    """Never two calls at once; whatever stops it, it goes on where it was.

    ``feed`` brings what was read into the lanes. ``queue`` waits, in order; then comes a batch, in one piece or, once
    it was taken apart, in several; keys of the lane that are parked have turns of their own.
    """

    def __init__(
        self,
        number: int,
        *,
        code: Code,
        policy: Policy,
        ground: Ground,
        books: Books,
        giving_up: GivingUp,
        feed: Callable[[], None],
    ) -> None:
        self._stage = "processing" if policy.lanes == 1 else f"processing_lane_{number}"
        self._code = code
        self._policy = policy
        self._ground = ground
        self._books = books
        self._feed = feed
        self.queue = Waiting(policy.batch)
        self.claims = Claims(books, awaited=policy.is_manual and policy.lanes > 1)
        self._pieces: deque[Piece] = deque()
        self._was_parked = False
        self._keys = LaneKeys(policy, ground, books, giving_up)
        self._told_at = -math.inf

    @property
    def has_work(self) -> bool:
        """Whether anything of it is not done."""
        return bool(self.queue or self._pieces or self._keys.parked)

    @property
    def wants_more(self) -> bool:
        """Whether a lane of a shard with one lane is to be given more."""
        if self._pieces:
            return False
        return not self.queue or (self._policy.batch.window_seconds > 0 and not self.queue.is_full)

    @property
    def failing_since(self) -> float | None:
        """When what is in hand first failed (monotonic), None where nothing fails; parked keys are not in it."""
        since = [each.attempts.first_failed_at for each in self._pieces]
        return min((at for at in since if at is not None), default=None)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest record of it arose that is not done, parked ones apart (epoch seconds)."""
        firsts = [each.run.records[0] for each in self._pieces] + self.queue.firsts()
        return min((record.timestamp for record in firsts if record.timestamp is not None), default=None)

    async def run(self) -> None:
        """Deliver until nothing is left, or a stop is asked for."""
        while not self._ground.must_stop():
            self._keys.give_up_what_may_be()
            turn, wait = self._next_turn()
            if turn is not None:
                await self._try(turn)
            elif self.has_work:
                await self._ground.change(wait)
            else:
                return
        for unit in self._units():  # a stop may last as long as other lanes' user code, or be taken back
            self._policy.breaker.step_aside(unit)

    def close(self) -> None:
        """Nothing of it is tried any more."""
        for unit in self._units():
            self._policy.breaker.forget(unit)

    def resume(self, parked: ParkedKey) -> None:
        """The first record of a parked key came to its end; the key goes on."""
        rest = self._keys.resume(parked)
        if rest is not None:
            self.queue.put_first(rest)

    # -- whose turn it is

    def _next_turn(self) -> tuple[Turn | None, float | None]:
        """What to try now, or how long to wait at most until something may be tried (None: for a change)."""
        now = self._policy.clock.monotonic()
        waits: list[float] = []
        ways = (self._turn_of_parked, self._turn_of_batch)
        for way in reversed(ways) if self._was_parked else ways:  # many parked keys must not starve the others
            turn = way(now, waits)
            if turn is not None:
                self._was_parked = turn.parked is not None
                return turn, None
        return None, min(waits, default=None)

    def _turn_of_parked(self, now: float, waits: list[float]) -> Turn | None:
        for parked in self._keys.parked.values():
            if not parked.is_leaving:
                turn = Turn(parked.first(), parked.attempts, self._unit(parked.first()), parked)
                if self._takes_turn(turn, now, waits):
                    return turn
        return None

    def _turn_of_batch(self, now: float, waits: list[float]) -> Turn | None:
        if not self._pieces:
            self._begin_batch(now, waits)
        if not self._pieces:
            return None
        piece = self._pieces[0]
        turn = Turn(piece.run, piece.attempts, self._unit(piece.run), is_apart=piece.is_apart)
        return turn if self._takes_turn(turn, now, waits) else None

    def _takes_turn(self, turn: Turn, now: float, waits: list[float]) -> bool:
        wait: float | None
        if turn.attempts.due_at > now:
            wait = turn.attempts.due_at - now
            self._policy.breaker.step_aside(turn.unit)
        else:
            wait = self._policy.breaker.take_turn(turn.unit, self._ground.notify, turn.parked is not None)
            if wait == 0:
                return True
        if wait is not None:
            waits.append(wait)
        if turn.attempts.is_used_up(self._policy.retry):
            waits.append(_PROOF_POLL_SECONDS)
        return False

    def _begin_batch(self, now: float, waits: list[float]) -> None:
        """Cut the next batch, of records whose key is not parked, where one is ready."""
        if not self.queue.is_full:
            self._feed()
        while (wait := self.queue.seconds_to_ready(now)) is not None:
            room = self._books.room()
            if room is Room.NONE:
                return
            if wait > 0 and self._books.may_grow:
                waits.append(wait)
                return
            if room is Room.SAMPLE and not self._books.owes_sample:
                return
            run, rest = self._keys.to_begin(self.queue.cut(1 if room is Room.SAMPLE else None))
            if rest is not None:
                self.queue.put_first(rest)
            if run is not None:
                self._books.owes_sample = False
                self._pieces.append(Piece(run))
                return
            self._feed()

    # -- one try, and what comes of it

    async def _try(self, turn: Turn) -> None:
        if self._policy.pace is not None and not await self._paced(self._policy.pace, turn.run):
            return
        if turn.parked is None:  # what waits for its first turn at the pace that was asked for is not stuck
            self._ground.begin_stage(self._stage)
        began_at = self._policy.clock.monotonic()
        self.claims.begin(turn.run)
        try:
            reading = await self._code.process(turn.run.records, turn.run.millis_behind_latest)
        finally:
            self.claims.end()
        if reading is None:
            self._policy.breaker.pass_turn(turn.unit)
        else:
            self._settle(turn, reading, began_at)

    async def _paced(self, pace: Pace, run: Run) -> bool:
        """Wait until ``run`` may be tried, as the worker's pace has it; False where a stop comes first."""
        waiting = asyncio.ensure_future(pace.turn(len(run), sum(record.size_bytes for record in run.records)))
        waiting.add_done_callback(lambda _: self._ground.notify())
        try:
            await self._ground.until(lambda: waiting.done() or self._ground.must_stop())
            return waiting.done() and not self._ground.must_stop()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    def _settle(self, turn: Turn, reading: Reading, began_at: float) -> None:
        if turn.parked is not None:
            self._books.parked_was_tried()
        if isinstance(reading, AllDone):
            self._all_done(turn, began_at)
        elif isinstance(reading, SomeFailed) and len(turn.run) > 1:
            self._some_failed(turn, reading, began_at)
        else:
            self._none_done(turn, reading)

    def _all_done(self, turn: Turn, began_at: float) -> None:
        self._finished(turn.run, began_at)
        if turn.parked is not None:
            self.resume(turn.parked)
        else:
            self._pieces.popleft()
            self._end_batch()

    def _finished(self, run: Run, began_at: float) -> None:
        self._policy.breaker.succeeded(began_at)
        self._code.returned(run.records, self._policy.clock.monotonic() - began_at)
        self.claims.returned(run.indexes)

    def _none_done(self, turn: Turn, reading: Failing) -> None:
        """Count the failure of what was tried, which may open the breaker; then see what follows."""
        policy, now = self._policy, self._policy.clock.monotonic()
        # While the sink counts as down, batches that each hold a bad record would never find it up: a part of one does.
        bisects = policy.bisect or (policy.retry.gives_up and policy.breaker.is_open)
        is_search = is_searched(turn, reading, bisects=bisects)
        for record in turn.run.records:  # what was noted before a raise says nothing of the next call
            record.clear_failure()
        if isinstance(reading, Busy):
            turn.attempts.busy(reading.failure, reading.seconds, now)
            policy.breaker.pass_turn(turn.unit)
        elif is_search:
            policy.breaker.failed((turn.unit,), (), reading.failure.kind)
        else:
            turn.attempts.failed(reading.failure, policy.retry, policy.random, now)
            policy.breaker.failed((turn.unit,), (turn.attempts,), reading.failure.kind)
        is_over = self._is_over(turn)
        step = next_step(turn, reading, is_search=is_search, parks=policy.parks, is_over=is_over)
        if step is Step.HALVE:
            self._halve(turn)
        elif step is Step.PARK:
            if is_over:
                turn.attempts.step_aside()
            self._park(turn.run, {policy.key_of(turn.run.records[0]): [0]}, [turn.attempts])
        self._tell(turn, reading, told(step, turn, reading, max(0.0, turn.attempts.due_at - now)))

    def _is_over(self, turn: Turn) -> bool:
        """Whether a unit that failed again has had all its tries, or holds a record that has become too old.

        Or one that the stream soon has no more: nothing is given up for that but what fails alone, and by itself.
        """
        policy, rules, now = self._policy, self._policy.retry, self._policy.clock.wall()
        if turn.attempts.is_used_up(rules):
            return True
        if not rules.gives_up:
            return False
        records = turn.run.records
        if any(policy.must_be_saved(record, turn.attempts) for record in records):
            return True
        return not policy.breaker.is_open and any(rules.is_too_old(record.timestamp, now) for record in records)

    def _some_failed(self, turn: Turn, reading: SomeFailed, began_at: float) -> None:
        """These records failed by themselves: they, and what follows them under their keys, wait; the rest is done."""
        policy, run, now = self._policy, turn.run, self._policy.clock.monotonic()
        parts = split(run.records, reading.failures, policy.key_of)
        firsts = [positions[0] for positions in parts.held.values()]
        attempts = [Attempts() for _ in firsts]
        for each, first in zip(attempts, firsts, strict=True):
            each.failed(reading.failures[first], policy.retry, policy.random, now)
        self._park(run, parts.held, attempts)
        if parts.done:
            self._finished(run.only(parts.done), began_at)
            for each in attempts:
                each.failed_beside_others()
        else:
            units = [self._unit(run.part(first, first + 1)) for first in firsts]
            policy.breaker.failed(units, attempts, reading.failure.kind)
        count = f"{len(reading.failures)} of {len(run)} records failed"
        self._tell(turn, reading, f"{count}; their keys are parked, other keys go on")

    def _park(self, run: Run, held: Mapping[str, Sequence[int]], attempts: Sequence[Attempts]) -> None:
        """Of the piece in hand, ``run``, the records at ``held`` wait, key by key."""
        self._books.remember(run)
        for (key, positions), each in zip(held.items(), attempts, strict=True):
            self._keys.park(key, [(run.indexes[at], run.records[at]) for at in positions], each)
        self._pieces.popleft()
        self._sweep()
        self._end_batch()

    def _sweep(self) -> None:
        """What of the batch's other pieces belongs to a key that is parked follows it now: later it would overtake."""
        swept = [(piece, self._keys.without_parked(piece.run)) for piece in self._pieces]
        self._pieces = deque(
            piece if run is piece.run else Piece(run, piece.attempts, piece.is_apart)
            for piece, run in swept
            if run is not None
        )

    def _halve(self, turn: Turn) -> None:
        """Two halves in place of the batch, each of which has failed as often as it."""
        run = turn.run
        self._books.remember(run)
        self._pieces.popleft()
        middle = len(run) // 2
        for part in (run.part(middle, len(run)), run.part(0, middle)):
            piece = Piece(part, is_apart=True)
            if turn.attempts.made:
                piece.attempts.inherit(turn.attempts)
            self._pieces.appendleft(piece)

    def _end_batch(self) -> None:
        if not self._pieces:
            self._ground.end_stage(self._stage)

    # -- words

    def _unit(self, run: Run) -> Unit:
        return unit_of(self._ground.shard_id, run)

    def _units(self) -> list[Unit]:
        runs = [each.run for each in self._pieces] + [each.first() for each in self._keys.parked.values()]
        return [self._unit(run) for run in runs]

    def _tell(self, turn: Turn, reading: Failing, what_next: str) -> None:
        first, last = turn.run.records[0], turn.run.records[-1]
        now = self._policy.clock.monotonic()
        # What is tried again and again, for hours where it must be, is told once a minute; facts tell of each try.
        is_repeated = turn.attempts.made > 1 and now - self._told_at < _TOLD_EVERY_SECONDS
        if not is_repeated:
            self._told_at = now
        if self._policy.breaker.is_open:
            what_next = "what it writes to counts as down: tried again when it is its turn to probe, nothing is counted"
        tell_failed(
            self._policy.hooks,
            self._ground.shard_id,
            "process_records",
            about=f"records {first.sequence_number} to {last.sequence_number}",
            error=reading.error,
            failure=reading.failure,
            attempt=max(1, turn.attempts.made),
            pause_seconds=max(0.0, turn.attempts.due_at - now),
            what_next=what_next,
            level=logging.DEBUG if is_repeated else logging.WARNING,
        )
