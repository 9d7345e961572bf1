"""Records that are given up: whole into the store for dead letters, acknowledged, and only then done."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Final

from consumer.dead_letters.at_once import at_once
from consumer.dead_letters.letter import DeadLetter, GivenUp, Reason, digest_of
from consumer.dead_letters.store import DeadLetterStore
from consumer.delivery.attempts import Attempts
from consumer.delivery.ground import Ground, Policy
from consumer.delivery.held_keys import HeldKeys
from consumer.errors import DeadLetterError
from consumer.failures import Failure
from consumer.hooks import DeadLettersRefused, RecordsGivenUp
from consumer.record import Record
from consumer.retry import Trouble

__all__ = ["GivingUp", "Leaving"]

_log = logging.getLogger("leasehold.delivery")
_LETTERS_AT_ONCE: Final = 100
_RETRY_FIRST_SECONDS: Final = 0.2
_RETRY_LIMIT_SECONDS: Final = 30.0
_STAGE: Final = "writing_dead_letters"


@dataclass(frozen=True, slots=True)
class Leaving:
    """A record to be given up, and what its attempts came to; ``failure`` is why, where it was never tried."""

    index: int
    record: Record
    reason: Reason
    attempts: Attempts | None = None
    failure: Failure | None = None


class GivingUp:
    """One shard's way out for records.

    ``gone`` is called with those that have left, in the order of ``add``; ``back`` with those that are to be delivered
    after all, since the dead letter of their key is gone.

    Nothing leaves before the store has acknowledged it. A store that refuses is asked again for as long as the tenure
    lasts: the shard's checkpoint waits.
    """

    def __init__(
        self,
        policy: Policy,
        ground: Ground,
        *,
        gone: Callable[[Sequence[Leaving]], None],
        back: Callable[[Sequence[Leaving]], None],
    ) -> None:
        self._policy = policy
        self._back = back
        self._ground = ground
        self._gone = gone
        self._queue: deque[Leaving] = deque()
        self._task: asyncio.Task[None] | None = None
        self._broken: Exception | None = None

    @property
    def pending(self) -> int:
        """Records that have not left yet."""
        return len(self._queue)

    def add(self, leaving: Sequence[Leaving]) -> None:
        """Give these up, after what was added before."""
        self._queue.extend(leaving)
        for each in leaving:
            if self._policy.held is not None and not self._is_dropped(each):
                self._policy.held.leaving(self._ground.stream, each.record)
        if self._task is None and self._queue:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{self._ground.shard_id} letters")

    async def close(self) -> None:
        """Nothing leaves any more: what was not acknowledged is not done, and comes again to the next owner."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        while self._queue:
            self._left(self._queue.popleft())
        self.check()

    def check(self) -> None:
        """Raise what broke it, where something did: nobody else would hear of it, and its records would never leave."""
        if self._broken is not None:
            raise self._broken

    async def _run(self) -> None:
        try:
            while self._queue:
                if self._policy.held is not None:
                    await self._insist(partial(self._bring_back, self._policy.held))
                leaving = tuple(islice(self._queue, _LETTERS_AT_ONCE))
                letters = [self._letter(each) for each in leaving if not self._is_dropped(each)]
                if letters:
                    await self._insist(partial(self._put, letters))
                for _ in leaving:
                    self._left(self._queue.popleft())
                self._tell(leaving)
                self._gone(leaving)
        except Exception as error:
            self._broken = error
        finally:
            self._task = None
            self._ground.notify()

    async def _insist(self, call: Callable[[DeadLetterStore], Awaitable[None]]) -> None:
        """Return once ``call`` has returned; a stop may be taken back, or else this is cancelled."""
        store = self._policy.dead_letters
        assert store is not None, "what is neither dropped nor stored is not given up"
        trouble: Trouble | None = None
        self._ground.begin_stage(_STAGE)
        try:
            while True:
                if not await self._ground.trusted():
                    await self._ground.until(lambda: not self._ground.must_stop())
                    continue
                try:
                    await call(store)
                    return
                except DeadLetterError as error:
                    trouble = trouble or Trouble(self._policy.random, _RETRY_FIRST_SECONDS, _RETRY_LIMIT_SECONDS)
                    pause = self._refused(error, min(len(self._queue), _LETTERS_AT_ONCE), trouble)
                await self._ground.until(self._ground.must_stop, pause)
        finally:
            self._ground.end_stage(_STAGE)

    async def _put(self, letters: Sequence[DeadLetter], store: DeadLetterStore) -> None:
        """Store ``letters``, but for what follows a letter of its key and is stored already.

        The owner before us may have stored it with its error, which "its key is held" must not replace.
        """
        followers = [letter.identity for letter in letters if letter.reason is Reason.KEY_HELD]
        known = {found.identity for found in await at_once(followers, store.find) if found is not None}
        await store.put([letter for letter in letters if letter.identity not in known])

    async def _bring_back(self, held: HeldKeys, store: DeadLetterStore) -> None:
        """What was to follow a letter that somebody has redriven or dropped meanwhile is delivered after all.

        Asked before each write: a busy key would else have another letter before the next listing, and so for ever.
        """
        asked: set[str] = set()
        for each in tuple(islice(self._queue, _LETTERS_AT_ONCE)):
            key = each.record.key
            if key in asked:
                continue
            asked.add(key)  # where its first letter is on its way, the store does not know of it yet
            if each.reason is not Reason.KEY_HELD or await store.holds(self._ground.stream, digest_of(key)):
                continue
            back = [one for one in self._queue if one.record.key == key]
            if all(one.reason is Reason.KEY_HELD for one in back):
                self._queue = deque(one for one in self._queue if one.record.key != key)
                held.let_go(self._ground.stream, each.record)
                self._back(back)

    def _left(self, leaving: Leaving) -> None:
        if self._policy.held is not None and not self._is_dropped(leaving):
            self._policy.held.left(self._ground.stream, leaving.record)

    def _is_dropped(self, leaving: Leaving) -> bool:
        return self._policy.drops and leaving.reason is not Reason.UNDECODABLE

    def _refused(self, error: DeadLetterError, count: int, trouble: Trouble) -> float:
        now = self._policy.clock.monotonic()
        pause = trouble.put_off(now)
        if trouble.is_to_be_told(now):
            _log.error(
                "Shard %s: %d dead letters could not be stored (%s). They are not counted as done: the shard's "
                "checkpoint waits, and they are written again in %.1f s.",
                self._ground.shard_id,
                count,
                error,
                pause,
            )
        self._policy.hooks(DeadLettersRefused(self._ground.shard_id, count, type(error).__name__, pause))
        return pause

    def _letter(self, leaving: Leaving) -> DeadLetter:
        clock, attempts = self._policy.clock, leaving.attempts
        now = clock.wall()
        failed_at = None if attempts is None else attempts.first_failed_at
        return DeadLetter.of(
            leaving.record,
            GivenUp(
                stream=self._ground.stream,
                stream_arn=self._ground.stream_arn,
                shard_id=self._ground.shard_id,
                app=self._policy.app,
                worker_id=self._policy.worker_id,
                reason=leaving.reason,
                attempts=0 if attempts is None else attempts.made,
                failure=leaving.failure
                or (Failure(leaving.reason.condition) if attempts is None else attempts.failure),
                first_failed_at=now if failed_at is None else now - (clock.monotonic() - failed_at),
                given_up_at=now,
                key_is_held=self._policy.held is not None,
            ),
        )

    def _tell(self, leaving: Sequence[Leaving]) -> None:
        store = self._policy.dead_letters
        for reason, group in groupby(leaving, key=lambda each: each.reason):
            records = list(group)
            is_dropped = store is None or self._is_dropped(records[0])
            _log.warning(
                "Shard %s: %d record%s, the first %s, %s (%s). The shard goes on.",
                self._ground.shard_id,
                len(records),
                "" if len(records) == 1 else "s",
                records[0].record.sequence_number,
                "dropped, as on_give_up=drop says"
                if store is None or is_dropped
                else f"whole in {store.name} as dead letters",
                reason.condition,
            )
            fate = "dropped" if is_dropped else "dead_letter"
            self._policy.hooks(RecordsGivenUp(self._ground.shard_id, len(records), fate, reason.value))
