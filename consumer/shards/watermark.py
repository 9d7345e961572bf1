"""Stores how far a shard is done: one write at a time, one an interval, never back, never lost while storable."""

from __future__ import annotations

import logging
import math
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final

from consumer.errors import LeaseLost, LeaseStoreError
from consumer.hooks import CheckpointFailed, CheckpointStored
from consumer.retry import Trouble
from consumer.shards.standing import Part, Standing
from lease_store.checkpoint import Checkpoint

__all__ = ["CheckpointWriter"]

_log = logging.getLogger("leasehold.shards")
_RETRY_FIRST_SECONDS = 0.1
_RETRY_LIMIT_SECONDS = 5.0
_TRUST_POLL_SECONDS = 0.1
_STAGE = "checkpointing"
_QUIET_TICKS = 5
_NEVER: Final = -math.inf  # one object for ten thousand shards


class CheckpointWriter(Part):
    """The only writer of one tenure's checkpoints.

    ``advance`` (automatic) says what may be stored, ``store`` (manual) what must be. A task of its own does the writing
    while there is something to write, so that a slow or failing table never holds up delivery. The first move of a
    quiet shard is written at once, later ones at the worker's ticks, one an interval, together with those of its
    other shards: a shard that falls silent has its last place stored, too.
    """

    __slots__ = (
        "_due_at",
        "_flushing",
        "_inherited",
        "_is_writing",
        "_to_prepare",
        "_trouble",
        "_waiters",
        "is_closed",
        "stored",
        "wanted",
    )

    def __init__(self, standing: Standing) -> None:
        lease = standing.tenure.lease
        super().__init__(standing)
        self._trouble: Trouble | None = None
        self._waiters: list[tuple[Checkpoint, Future[None]]] | None = None
        self._to_prepare: tuple[tuple[Checkpoint, bytes | None, Future[None]], ...] = ()
        self._inherited = lease.pending_checkpoint
        self._flushing = False
        self._is_writing = False
        self._due_at = _NEVER
        self.stored = lease.checkpoint
        """What the lease row says, as far as this tenure knows."""
        self.wanted = lease.checkpoint
        """What it is to say; never below ``stored``."""
        self.is_closed = False

    def advance(self, to: Checkpoint) -> None:
        """Everything up to ``to`` is done; stored within an interval, or two after a quiet time.

        A place below an earlier one changes nothing.
        """
        if to > self.wanted:
            self.wanted = to
            self._write_soon()

    def store(self, to: Checkpoint) -> Future[None]:
        """Store ``to`` now; the future, safe in every thread, is done when it stands, or fails with LeaseLost."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # a waiter that gives up must not stop the others, nor the write
        if self.is_closed:
            done.set_exception(self._over())
        elif to <= self.stored:
            done.set_result(None)
        else:
            if self._waiters is None:
                self._waiters = []
            self._waiters.append((to, done))
            self.wanted = max(self.wanted, to)
            self._write_soon()
        return done

    def prepare(self, to: Checkpoint, state: bytes | None) -> Future[None]:
        """Lay down ``to`` now, once what is wanted is stored; the future is as that of ``store``."""
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        if self.is_closed:
            done.set_exception(self._over())
        else:
            self._to_prepare = (*self._to_prepare, (to, state, done))
            self._write_soon()
        return done

    async def flush(self) -> bool:
        """Store what is wanted without waiting for the interval; False when the lease's trust ends first."""
        self._flushing = True
        self._standing.notify()
        try:
            while not self._is_settled() and self._tenure.is_trusted:
                await self._standing.until(self._is_settled, within_seconds=_TRUST_POLL_SECONDS)
        finally:
            self._flushing = False
        return self.stored >= self.wanted

    def close(self) -> None:
        """Nothing is stored any more; whoever waits hears LeaseLost."""
        self.is_closed = True
        waiting = [done for _, done in self._waiters or ()] + [done for _, _, done in self._to_prepare]
        self._waiters, self._to_prepare = None, ()
        for done in waiting:
            done.set_exception(self._over())
        self._standing.notify()

    def _write_soon(self) -> None:
        if self._is_writing or self.is_closed:
            self._standing.notify()
        else:
            self._is_writing = True
            self._standing.owner.start(self._write(), "checkpoints")

    async def _write(self) -> None:
        """Write until everything stands, or the lease is lost."""
        try:
            while self.wanted > self.stored or self._to_prepare:
                pause = self._pause_seconds()
                is_urgent = await self._standing.until(self._is_urgent, pause)
                # What is wanted comes first: it would remove what is prepared.
                if self.wanted > self.stored:
                    await self._store_wanted(is_urgent, at_tick=pause > 0 and not is_urgent)
                else:
                    await self._prepare_next()
        except LeaseLost:
            self._standing.request_stop("lost")
            self.close()
        except BaseException:
            self.close()  # a thread may wait for its checkpoint, and the end of all for the thread
            raise
        self._is_writing = False

    def _pause_seconds(self) -> float:
        """Until the tick; a shard that has stored nothing for some of them is quiet, and does not wait for one."""
        shared = self._standing.shared
        now = shared.clock.monotonic()
        if self._due_at <= now < self._due_at + _QUIET_TICKS * shared.config.checkpoint_interval_seconds:
            self._due_at = shared.rounds.next_tick()
        return max(0.0, self._due_at - now)

    def _is_urgent(self) -> bool:
        return self._flushing or bool(self._waiters or self._to_prepare)

    async def _store_wanted(self, is_urgent: bool, *, at_tick: bool) -> None:
        """One attempt, with those of other shards where somebody does not wait for it. Raises LeaseLost."""
        target, rounds = self.wanted, self._standing.shared.rounds
        write = self._tenure.checkpoint(target) if is_urgent else rounds.store(self._tenure, target)
        if not await self._attempt(write, target):
            self._due_at = _NEVER  # again at once, when its pause is over
        else:
            # Between ticks, the next one may be near: no two within an interval.
            self._due_at = rounds.next_tick() + (0.0 if at_tick else rounds.interval_seconds)
            self.stored = target
            self._tell_of_inherited(target)
            self._standing.shared.hooks(CheckpointStored(self._standing.shard_id, target.sequence_number))
            self._settle_waiters()
            self._standing.notify()

    async def _prepare_next(self) -> None:
        """One attempt. Raises LeaseLost."""
        to, state, done = self._to_prepare[0]
        if to > self.stored:
            if not await self._attempt(self._tenure.prepare(to, state), to):
                return
            self._inherited = None  # replaced
        self._to_prepare = self._to_prepare[1:]
        done.set_result(None)
        self._standing.notify()

    def _tell_of_inherited(self, target: Checkpoint) -> None:
        """What a former owner prepared is gone from the row with the first checkpoint after it."""
        pending, self._inherited = self._inherited, None
        if pending is not None and pending.checkpoint != target:
            _log.info(
                "Shard %s: checkpoint %s, which a former owner had prepared and not committed, was given to initialize "
                "and is removed by checkpoint %s.",
                self._standing.shard_id,
                pending.checkpoint,
                target,
            )

    async def _attempt(self, write: Coroutine[Any, Any, None], target: Checkpoint) -> bool:
        """Whether ``write`` stands; False after a pause where it is to be tried again. Raises LeaseLost."""
        self._standing.begin_stage(_STAGE)
        try:
            await write
        except LeaseLost:
            self._standing.end_stage(_STAGE)
            raise
        except LeaseStoreError as error:
            await self._pause_after(error, target)
            return False
        if self._trouble is not None:
            self._trouble = self._trouble.after_success(self._standing.shared.clock.monotonic())
        self._standing.end_stage(_STAGE)
        return True

    async def _pause_after(self, error: LeaseStoreError, target: Checkpoint) -> None:
        """A pause before the next attempt; says so once a minute, for a table may refuse for hours."""
        shared = self._standing.shared
        if self._trouble is None:
            self._trouble = Trouble(shared.random, _RETRY_FIRST_SECONDS, _RETRY_LIMIT_SECONDS)
        now = shared.clock.monotonic()
        pause = self._trouble.put_off(now)
        if self._trouble.is_to_be_told(now):
            _log.warning(
                "Shard %s: checkpoint %s was not stored (%s); delivery goes on, the write is tried again in %.1f s. "
                "Until it stands, a restart repeats the records after %s.",
                self._standing.shard_id,
                target,
                error,
                pause,
                self.stored,
            )
        shared.hooks(CheckpointFailed(self._standing.shard_id, type(error).__name__))
        await shared.clock.sleep(pause)

    def _settle_waiters(self) -> None:
        waiters = self._waiters or ()
        done = [future for to, future in waiters if to <= self.stored]
        self._waiters = [each for each in waiters if each[0] > self.stored] or None
        for future in done:
            future.set_result(None)

    def _is_settled(self) -> bool:
        return self.is_closed or (self.stored >= self.wanted and not self._to_prepare)

    def _over(self) -> LeaseLost:
        return LeaseLost(
            f"Shard {self._standing.shard_id}: this worker's tenure of the lease is over; nothing was stored, "
            f"and the next owner goes on after {self.stored} or a later checkpoint."
        )
