"""Dead letters in a queue, which has no order to be asked by and no way to look without taking.

So a listing takes what is there, keeps it from others while it lasts, and gives back what was not removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from consumer.dead_letters.aws import AwsStores
from consumer.dead_letters.bodies import Bodies
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.dead_letters.store import ALL, Findings, Selection, Unreadable
from consumer.dead_letters.taken import TakenMessages
from consumer.errors import (
    DeadLetterError,
    DeadLetterStoreMissing,
    DeadLetterStoreRefused,
    DeadLetterStoreThrottled,
    DeadLetterStoreUnavailable,
)

__all__ = ["SqsDeadLetters", "group_of", "name_of"]

_AT_ONCE: Final = 10  # entries of a batch
_SHORTEST_RETENTION_SECONDS: Final = 7 * 86_400
# What a request has beside its messages' bodies, within its limit of 1 MiB.
_BATCH_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class _Queue:
    url: str
    most_bytes: int
    retention_seconds: int
    has_redrive: bool

    @property
    def is_fifo(self) -> bool:
        return self.url.endswith(".fifo")


def group_of(letter: DeadLetter) -> str:
    """The message group of a letter in a FIFO queue or topic: its stream and key, whose order is kept."""
    return hashlib.sha256(f"{letter.stream},{letter.identity.digest}".encode()).hexdigest()


def name_of(identity: Identity) -> str:
    """What a FIFO queue or topic knows a letter by, to tell a repeat within five minutes."""
    return hashlib.sha256(str(identity).encode()).hexdigest()


class SqsDeadLetters:
    """``sqs:NAME`` or ``sqs:URL``. A standard queue can't tell a repeat; a FIFO queue can for five minutes.

    A FIFO queue needs nothing: a letter's group is its key, its deduplication id its identity.
    """

    tells_repeats = False
    tells_keys = False

    def __init__(self, queue: str, aws: AwsStores, bodies: Bodies) -> None:
        self.name = f"sqs:{queue}"
        self._given = queue
        self._aws = aws
        self._bodies = bodies
        self._known: _Queue | None = None
        self._taken: TakenMessages | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Messages that a listing took and nobody removed are given back when it is left."""
        async with self._aws.open(self.name):
            try:
                yield
            finally:
                taken, self._taken, self._known = self._taken, None, None
                if taken is not None:
                    await taken.close()

    async def check(self) -> Findings:
        """Asks what the queue is like, and for a batch of nothing, which is refused in one way to who may send."""
        try:
            queue = await self._queue()
        except DeadLetterError as error:
            return Findings.of(error)
        findings = await self._bodies.check(self.name, queue.most_bytes) + Findings(warnings=_doubts(self.name, queue))
        try:
            await self._call("SendMessageBatch", QueueUrl=queue.url, Entries=[])
        except DeadLetterStoreRefused:
            return findings  # nothing is refused as such to who may send
        except DeadLetterError as error:
            return findings + Findings.of(error)
        return findings

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """By batches, in order, each of ten messages and 1 MiB at most."""
        queue = await self._queue()
        batch: list[dict[str, Any]] = []
        size = 0
        for letter in letters:
            body = (await self._bodies.fitted(letter, queue.most_bytes, self.name)).decode("ascii")
            if batch and (len(batch) == _AT_ONCE or size + len(body) > _BATCH_BYTES):
                await self._send(queue, batch)
                batch, size = [], 0
            batch.append(_entry(letter, body, str(len(batch)), is_fifo=queue.is_fifo))
            size += len(body)
        if batch:
            await self._send(queue, batch)

    async def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """Takes what is there, to a file without a name on this machine, and gives it out in key order.

        A FIFO queue hands out a key's next letters once those before are gone; so this takes again until nothing comes.
        """
        taken = await self._taking()
        given: set[Identity] = set()
        deleted = -1
        while taken.deleted != deleted:
            deleted = taken.deleted
            await taken.take_all()
            for identity in taken.in_key_order():
                letter = taken.letter(identity) if identity not in given and selection.fits(identity) else None
                if letter is not None:
                    given.add(identity)
                    yield letter
        for unreadable in taken.unreadable():
            yield unreadable
        if (left := await self._left()) and taken.may_hide_more:
            yield Unreadable(self.name, f"about {left} letters wait behind those that are shown, of the same keys")

    async def find(self, identity: Identity) -> DeadLetter | None:
        """Takes what is there until it is found."""
        taken = await self._taking()
        letter = taken.letter(identity)
        while letter is None and await taken.take():
            letter = taken.letter(identity)
        return None if letter is None else await self.whole(letter)

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """The letter with its body."""
        return await self._bodies.whole(letter)

    async def remove(self, identity: Identity) -> None:
        """Deletes every message of the letter that was taken, and then its body."""
        taken = await self._taking()
        letter = taken.letter(identity)
        if letter is None:
            letter = await self.find(identity)
        await taken.delete(identity)
        if letter is not None:
            await self._bodies.remove(letter)

    async def held_keys(self, stream: str) -> frozenset[str]:
        """A queue can't be asked."""
        raise DeadLetterError(f"{self.name} can't be asked for keys; after_dead_letter=hold_key needs another store.")

    async def holds(self, stream: str, digest: str) -> bool:
        """A queue can't be asked."""
        return digest in await self.held_keys(stream)

    async def note(self, seen: str, text: str) -> str:
        """A queue needs none: what one has taken, nobody else gets."""
        return text

    async def _send(self, queue: _Queue, batch: list[dict[str, Any]]) -> None:
        reply = await self._call("SendMessageBatch", QueueUrl=queue.url, Entries=batch)
        if failed := reply.get("Failed"):
            code, said = failed[0].get("Code", ""), failed[0].get("Message", "no reason given")
            kind = DeadLetterStoreThrottled if "hrottl" in code else DeadLetterStoreUnavailable
            raise kind(f"{self.name} did not take {len(failed)} of {len(batch)} letters ({code}: {said}).")
        if len(reply.get("Successful", ())) != len(batch):
            raise DeadLetterStoreUnavailable(f"{self.name} did not say of each of {len(batch)} letters that it has it.")

    async def _queue(self) -> _Queue:
        if self._known is None:
            url = self._given
            if "://" not in url:
                url = (await self._call("GetQueueUrl", QueueName=url))["QueueUrl"]
            reply = await self._call("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
            known = reply.get("Attributes") or {}
            self._known = _Queue(
                url,
                int(known.get("MaximumMessageSize", 262_144)),
                int(known.get("MessageRetentionPeriod", 345_600)),
                "RedrivePolicy" in known,
            )
        return self._known

    async def _left(self) -> int:
        url = (await self._queue()).url
        names = ["ApproximateNumberOfMessages"]
        reply = await self._call("GetQueueAttributes", QueueUrl=url, AttributeNames=names)
        return int(reply["Attributes"]["ApproximateNumberOfMessages"])

    async def _taking(self) -> TakenMessages:
        if self._taken is None:
            queue = await self._queue()
            self._taken = TakenMessages(self._aws, self.name, queue.url, is_fifo=queue.is_fifo)
        return self._taken

    async def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return await self._aws.call("sqs", operation, self.name, **request)
        except DeadLetterStoreMissing:
            self._known = None  # it may be made anew, with other limits
            raise


def _entry(letter: DeadLetter, body: str, number: str, *, is_fifo: bool) -> dict[str, Any]:
    entry = {"Id": number, "MessageBody": body}
    if is_fifo:
        entry |= {"MessageGroupId": group_of(letter), "MessageDeduplicationId": name_of(letter.identity)}
    return entry


def _doubts(name: str, queue: _Queue) -> tuple[str, ...]:
    doubts = []
    if queue.retention_seconds < _SHORTEST_RETENTION_SECONDS:
        doubts.append(
            f"{name} deletes letters after {queue.retention_seconds / 86_400:.1f} days (MessageRetentionPeriod); raise "
            "it, up to 14 days, or take a store that keeps them."
        )
    if queue.has_redrive:
        doubts.append(
            f"{name} has a dead-letter queue of its own (RedrivePolicy): listing letters often enough moves them there."
        )
    return tuple(doubts)
