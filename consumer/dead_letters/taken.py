"""Messages that were taken from a queue: kept from others while this lasts, given back in the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from consumer.dead_letters.at_once import at_once
from consumer.dead_letters.aws import AwsStores
from consumer.dead_letters.aws_errors import code_of
from consumer.dead_letters.envelope import decode, encode
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.dead_letters.lines import Line
from consumer.dead_letters.store import Unreadable
from consumer.errors import DeadLetterError, DeadLetterUnreadable
from consumer.retry import is_transient
from lease_store.uninterrupted import uninterrupted

__all__ = ["WAIT_SECONDS", "TakenMessages"]

_KEPT_SECONDS: Final = 300
_KEPT_EVERY_SECONDS: Final = 100.0
# A queue is many servers; a look that waits asks all of them, one that does not asks some.
WAIT_SECONDS = 1
_BATCH: Final = 10
_FULL: Final = "OverLimit"


class TakenMessages:
    """Bodies lie in a file without a name; of each message some 500 bytes are in memory.

    A message that somebody else takes meanwhile (we were frozen for five minutes) is a letter that is run twice.
    """

    def __init__(self, aws: AwsStores, store: str, url: str, *, is_fifo: bool) -> None:
        self._aws = aws
        self._store = store
        self._url = url
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``close``
        self._lines: dict[Identity, Line] = {}
        self._receipts: dict[Identity, list[str]] = {}
        self._foreign: dict[str, Unreadable] = {}
        self._end = 0
        self.may_hide_more = is_fifo
        """Whether more may be there that can't be taken now: behind others of its key, or beyond what a queue lends."""
        self.deleted = 0
        """How many letters were deleted: those behind them can be taken then."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def take_all(self) -> None:
        """Until nothing more comes."""
        while await self.take():
            continue

    async def take(self) -> bool:
        """Ten more at most; whether any came."""
        try:
            reply = await self._call(
                "ReceiveMessage",
                MaxNumberOfMessages=_BATCH,
                WaitTimeSeconds=WAIT_SECONDS,
                VisibilityTimeout=_KEPT_SECONDS,
            )
        except DeadLetterError as error:
            if code_of(error.__cause__) != _FULL:
                raise
            self.may_hide_more = True
            return False
        messages = reply.get("Messages", ())
        for message in messages:
            self._note(message["MessageId"], message["Body"], message["ReceiptHandle"])
        return bool(messages)

    def in_key_order(self) -> list[Identity]:
        """The letters that were taken and not deleted."""
        return sorted(self._lines, key=lambda identity: (identity.stream, identity.place))

    def letter(self, identity: Identity) -> DeadLetter | None:
        """One of them; None where it was not taken."""
        place = self._lines.get(identity)
        if place is None:
            return None
        self._file.seek(place.at)
        return decode(self._file.read(place.length))

    def unreadable(self) -> Iterator[Unreadable]:
        """Messages that are no letters of ours."""
        yield from list(self._foreign.values())

    async def delete(self, identity: Identity) -> None:
        """Every message of a letter; none is legal."""
        for receipt in self._receipts.get(identity, ()):
            await self._call("DeleteMessage", ReceiptHandle=receipt)
        self._receipts.pop(identity, None)
        self.deleted += self._lines.pop(identity, None) is not None

    async def close(self) -> None:
        """Give back what was not deleted, even where this is cancelled meanwhile."""
        self._file.close()
        self._keeping.cancel()
        try:
            await uninterrupted(self._visible_in(0))
        finally:
            with suppress(asyncio.CancelledError):
                await self._keeping

    def _note(self, message_id: str, body: str, receipt: str) -> None:
        try:
            letter = decode(body)
        except DeadLetterUnreadable as error:
            self._foreign[receipt] = Unreadable(f"{self._store}, message {message_id}", str(error))
            return
        line = encode(letter)
        self._file.seek(self._end)
        self._file.write(line)
        self._lines[letter.identity] = Line(self._end, len(line))
        self._end += len(line)
        self._receipts.setdefault(letter.identity, []).append(receipt)

    async def _keep(self) -> None:
        """Messages come back after five minutes unless somebody says that they are still needed."""
        while True:
            await self._aws.clock.sleep(_KEPT_EVERY_SECONDS)
            try:
                await self._visible_in(_KEPT_SECONDS)
            except DeadLetterError as error:
                if not is_transient(error):
                    raise

    async def _visible_in(self, seconds: int) -> None:
        receipts = [*self._foreign, *(each for several in self._receipts.values() for each in several)]
        await at_once(_batches(receipts, seconds), self._change)

    async def _change(self, entries: list[dict[str, Any]]) -> None:
        await self._call("ChangeMessageVisibilityBatch", Entries=entries)

    async def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self._aws.call("sqs", operation, self._store, QueueUrl=self._url, **request)


def _batches(receipts: list[str], seconds: int) -> Iterable[list[dict[str, Any]]]:
    for first in range(0, len(receipts), _BATCH):
        yield [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for number, receipt in enumerate(receipts[first : first + _BATCH])
        ]
