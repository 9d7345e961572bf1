"""Dead letters in a table: an item each, under its stream, sorted key by key.

The table has the key ``stream`` (S, HASH) and ``place`` (S, RANGE). Beside the letters stands one more item for each
stream, under the stream ``#streams``: so that a listing finds them without reading the whole table.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from consumer.dead_letters.at_once import at_once
from consumer.dead_letters.aws import AwsStores
from consumer.dead_letters.aws_errors import code_of
from consumer.dead_letters.bodies import Bodies
from consumer.dead_letters.envelope import decode
from consumer.dead_letters.letter import DeadLetter, Identity, digest_of
from consumer.dead_letters.store import ALL, Findings, Selection, Unreadable
from consumer.errors import DeadLetterError, DeadLetterUnreadable

__all__ = ["DynamoDBDeadLetters"]

_STREAMS: Final = "#streams"
_NOTE: Final = "#note"
_KEYS_AT_ONCE: Final = 100
# An item has 400 KB at most, names of attributes included; what is not the envelope is the key, twice 1 KB at most.
_MOST_BYTES: Final = 400 * 1024 - 4096
_KEY_SCHEMA: Final = [("stream", "HASH", "S"), ("place", "RANGE", "S")]


class DynamoDBDeadLetters:
    """``dynamodb:TABLE``. The same letter is the same item."""

    tells_repeats = True
    tells_keys = True

    def __init__(self, table: str, aws: AwsStores, bodies: Bodies) -> None:
        self.name = f"dynamodb:{table}"
        self._table = table
        self._aws = aws
        self._bodies = bodies
        self._known_streams: set[str] = set()

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connections while it is entered."""
        return self._aws.open(self.name)

    async def check(self) -> Findings:
        """Looks at the table's key, and asks for a write under a condition that nothing meets."""
        findings = await self._bodies.check(self.name, _MOST_BYTES)
        try:
            table = (await self._call("DescribeTable"))["Table"]
            if problem := _wrong_key(self._table, table):
                return findings + Findings((problem,))
            await self._call(
                "PutItem",
                Item={"stream": {"S": _STREAMS}, "place": {"S": "check"}},
                ConditionExpression="attribute_exists(#s) AND attribute_not_exists(#s)",
                ExpressionAttributeNames={"#s": "stream"},
            )
        except DeadLetterError as error:
            if code_of(error.__cause__) != "ConditionalCheckFailedException":
                return findings + Findings.of(error)
        return findings

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """An item each; a stream's own item goes before its first letter."""
        for stream in {letter.stream for letter in letters} - self._known_streams:
            await self._call("PutItem", Item={"stream": {"S": _STREAMS}, "place": {"S": stream}})
            self._known_streams.add(stream)
        await at_once(letters, self._put)

    async def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """By queries, a page of 1 MB at a time."""
        streams = [selection.stream] if selection.stream is not None else [each async for each in self._streams()]
        for stream in streams:
            start = "" if selection.key is None else f"{digest_of(selection.key)}/"
            async for item in self._items(stream, start):
                if (found := _letter_in(item, selection)) is not None:
                    yield found

    async def find(self, identity: Identity) -> DeadLetter | None:
        """One item, and its body where that lies elsewhere."""
        reply = await self._call("GetItem", Key=_key(identity), ConsistentRead=True)
        item = reply.get("Item")
        return None if item is None else await self.whole(decode(_envelope(item)))

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """The letter with its body."""
        return await self._bodies.whole(letter)

    async def remove(self, identity: Identity) -> None:
        """Delete the item, and then its body."""
        reply = await self._call("DeleteItem", Key=_key(identity), ReturnValues="ALL_OLD")
        if item := reply.get("Attributes"):
            try:
                letter = decode(_envelope(item))
            except DeadLetterUnreadable:
                return  # whatever it was, nobody knows of a body
            await self._bodies.remove(letter)

    async def held_keys(self, stream: str) -> frozenset[str]:
        """A key's first letter tells of it, and the next query begins after those of the last key that was seen.

        While each key has one letter, more and more are read at once, else one: what is read is paid for, 4 KB by 4 KB.
        """
        found: set[str] = set()
        after, most = " ", 1
        while True:
            reply = await self._query(stream, "place > :start", after, Limit=most, ProjectionExpression="place")
            digests = [item["place"]["S"].partition("/")[0] for item in reply["Items"]]
            found.update(digests)
            if not (digests and reply.get("LastEvaluatedKey")):
                return frozenset(found)
            after = f"{digests[-1]}0"  # the character after the slash
            most = min(2 * most, _KEYS_AT_ONCE) if len(set(digests)) == len(digests) else 1

    async def holds(self, stream: str, digest: str) -> bool:
        """One query."""
        reply = await self._query(stream, "begins_with(place, :start)", f"{digest}/", Limit=1)
        return bool(reply["Items"])

    async def note(self, seen: str, text: str) -> str:
        """An item beside those of the streams."""
        key = {"stream": {"S": _NOTE}, "place": {"S": _NOTE}}
        try:
            await self._call(
                "PutItem",
                Item={**key, "text": {"S": text}},
                ConditionExpression="#t = :seen" + ("" if seen else " OR attribute_not_exists(#t)"),
                ExpressionAttributeNames={"#t": "text"},
                ExpressionAttributeValues={":seen": {"S": seen}},
            )
            return text
        except DeadLetterError as error:
            if code_of(error.__cause__) != "ConditionalCheckFailedException":
                raise
        found = await self._call("GetItem", Key=key, ConsistentRead=True)
        noted: str = found.get("Item", {}).get("text", {}).get("S", "")
        return noted

    async def _put(self, letter: DeadLetter) -> None:
        envelope = await self._bodies.fitted(letter, _MOST_BYTES, self.name)
        await self._call("PutItem", Item={**_key(letter.identity), "letter": {"S": envelope.decode("ascii")}})

    async def _streams(self) -> AsyncIterator[str]:
        async for item in self._items(_STREAMS, ""):
            yield item["place"]["S"]

    async def _items(self, stream: str, start: str) -> AsyncIterator[dict[str, Any]]:
        last: dict[str, Any] = {}
        while True:
            condition = "begins_with(place, :start)" if start else "place > :start"
            reply = await self._query(stream, condition, start or " ", **last)
            for item in reply["Items"]:
                yield item
            if not reply.get("LastEvaluatedKey"):
                return
            last = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    async def _query(self, stream: str, condition: str, start: str, **more: Any) -> dict[str, Any]:
        return await self._call(
            "Query",
            KeyConditionExpression=f"#s = :stream AND {condition}",
            ExpressionAttributeNames={"#s": "stream"},
            ExpressionAttributeValues={":stream": {"S": stream}, ":start": {"S": start}},
            ConsistentRead=True,
            **more,
        )

    async def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self._aws.call("dynamodb", operation, self.name, TableName=self._table, **request)


def _key(identity: Identity) -> dict[str, Any]:
    return {"stream": {"S": identity.stream}, "place": {"S": identity.place}}


def _envelope(item: dict[str, Any]) -> str:
    envelope = item.get("letter", {}).get("S")
    if not isinstance(envelope, str):
        raise DeadLetterUnreadable("The item has no attribute called letter.")
    return envelope


def _letter_in(item: dict[str, Any], selection: Selection) -> DeadLetter | Unreadable | None:
    stream, place = item["stream"]["S"], item["place"]["S"]
    try:
        if not selection.fits(Identity.of_place(stream, place)):
            return None
        return decode(_envelope(item))
    except (DeadLetterUnreadable, ValueError) as error:
        return Unreadable(f"{stream}, {place}", str(error))


def _wrong_key(table: str, described: dict[str, Any]) -> str | None:
    kinds = {each["AttributeName"]: each["AttributeType"] for each in described.get("AttributeDefinitions", ())}
    schema = [(key["AttributeName"], key["KeyType"], kinds.get(key["AttributeName"])) for key in described["KeySchema"]]
    if schema == _KEY_SCHEMA:
        return None
    return (
        f"dynamodb:{table} can't hold dead letters: its key is "
        f"{', '.join(f'{name} ({role}, {kind})' for name, role, kind in schema)} in place of stream (HASH, S), place "
        "(RANGE, S). Create a table of its own: aws dynamodb create-table --table-name NAME --billing-mode "
        "PAY_PER_REQUEST --attribute-definitions AttributeName=stream,AttributeType=S "
        "AttributeName=place,AttributeType=S --key-schema AttributeName=stream,KeyType=HASH "
        "AttributeName=place,KeyType=RANGE"
    )
