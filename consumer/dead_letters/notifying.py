"""A topic that hears of each dead letter, beside the store that keeps it. What it misses is told, and holds nobody."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any, Final

from consumer.dead_letters.aws import AwsStores
from consumer.dead_letters.envelope import encode
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.dead_letters.sqs import group_of, name_of
from consumer.dead_letters.store import ALL, DeadLetterStore, Findings, Selection, Unreadable
from consumer.errors import DeadLetterStoreRefused, LeaseholdError
from consumer.retry import Trouble, is_transient

__all__ = ["NotifyingStore"]

_log = logging.getLogger("leasehold.dead_letters")

_MOST_BYTES: Final = 256 * 1024
_MOST_WAITING: Final = 1000
_LAST_SECONDS: Final = 5.0


class NotifyingStore:
    """Another store, and an SNS topic that hears of each letter once it is stored: at most once, and maybe never.

    A notification is the letter's envelope, without its payload where that does not fit into 256 KiB. A thousand wait
    at most; what is beyond, or can't be published, is counted in ``unheard`` and told in the log.
    """

    def __init__(self, store: DeadLetterStore, topic_arn: str, aws: AwsStores) -> None:
        self.store = store
        self.unheard = 0
        self._topic = topic_arn
        self._aws = aws
        self._waiting: deque[DeadLetter] = deque(maxlen=_MOST_WAITING)
        self._more = asyncio.Event()
        self._trouble = Trouble(Random(), 1.0, 1.0)

    @property
    def name(self) -> str:
        return self.store.name

    @property
    def tells_repeats(self) -> bool:
        return self.store.tells_repeats

    @property
    def tells_keys(self) -> bool:
        return self.store.tells_keys

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Both; when it is left, what waits has five more seconds."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.store.open())
            await stack.enter_async_context(self._aws.open(self._topic))
            telling = asyncio.get_running_loop().create_task(self._tell())
            try:
                yield
            finally:
                self._more.set()
                await self._finish(telling)

    async def check(self) -> Findings:
        """The store's findings, and whether the topic takes notifications: asked with a batch of none."""
        findings = await self.store.check()
        try:
            await self._call("PublishBatch", PublishBatchRequestEntries=[])
        except DeadLetterStoreRefused:
            return findings  # nothing is refused as such to who may publish
        except LeaseholdError as error:
            told = (str(error),)
            return findings + (Findings(warnings=told) if is_transient(error) else Findings(told))
        return findings

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Returns once the store has them."""
        await self.store.put(letters)
        for letter in letters:
            if len(self._waiting) == _MOST_WAITING:
                self._missed(letter, "a thousand notifications wait already")
            else:
                self._waiting.append(letter)
        self._more.set()

    def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        return self.store.letters(selection)

    async def find(self, identity: Identity) -> DeadLetter | None:
        return await self.store.find(identity)

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        return await self.store.whole(letter)

    async def remove(self, identity: Identity) -> None:
        await self.store.remove(identity)

    async def held_keys(self, stream: str) -> frozenset[str]:
        return await self.store.held_keys(stream)

    async def holds(self, stream: str, digest: str) -> bool:
        return await self.store.holds(stream, digest)

    async def note(self, seen: str, text: str) -> str:
        return await self.store.note(seen, text)

    async def _tell(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                await self._publish(self._waiting[0])
                self._waiting.popleft()

    async def _publish(self, letter: DeadLetter) -> None:
        try:
            await self._call("Publish", **_notification(letter, is_fifo=self._topic.endswith(".fifo")))
        except LeaseholdError as error:
            self._missed(letter, str(error))

    async def _finish(self, telling: asyncio.Task[None]) -> None:
        try:
            async with self._aws.clock.timeout(_LAST_SECONDS):
                while self._waiting and not telling.done():
                    await self._aws.clock.sleep(0.05)
        except TimeoutError:
            for letter in self._waiting:
                self._missed(letter, "the worker stopped before it could be told")
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    def _missed(self, letter: DeadLetter, why: str) -> None:
        self.unheard += 1
        if self._trouble.is_to_be_told(self._aws.clock.monotonic()):
            _log.warning(
                "Nobody was told of the dead letter of record %s of shard %s, which is in %s all the same (%d such so "
                "far): %s",
                letter.sequence_number,
                letter.shard_id,
                self.name,
                self.unheard,
                why,
            )

    async def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self._aws.call("sns", operation, self._topic, TopicArn=self._topic, **request)


def _notification(letter: DeadLetter, *, is_fifo: bool) -> dict[str, Any]:
    message = encode(letter)
    if len(message) > _MOST_BYTES:
        message = encode(replace(letter, payload=None))
    request: dict[str, Any] = {"Message": message.decode("ascii")}
    if is_fifo:
        request |= {"MessageGroupId": group_of(letter), "MessageDeduplicationId": name_of(letter.identity)}
    return request
