"""Dead letters in a bucket: an object each, named so that a listing gives them in key order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import unquote

from consumer.dead_letters.at_once import at_once
from consumer.dead_letters.aws import AwsStores
from consumer.dead_letters.aws_errors import code_of
from consumer.dead_letters.bodies import BODIES, PROBE, quoted
from consumer.dead_letters.envelope import decode, encode
from consumer.dead_letters.letter import DeadLetter, Identity, digest_of
from consumer.dead_letters.store import ALL, Findings, Selection, Unreadable
from consumer.errors import DeadLetterError, DeadLetterStoreMissing, DeadLetterUnreadable

__all__ = ["PAGE", "S3DeadLetters"]

_SUFFIX: Final = ".json"
_NOTE: Final = "leasehold-note"
_OVERTAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict")
PAGE = 1000  # the most that a listing gives
_READ_AT_ONCE: Final = 8


class S3DeadLetters:
    """``s3://BUCKET/PREFIX``: ``PREFIX/STREAM/DIGEST OF KEY/SEQUENCE.SUB.SHARD.json``.

    The same letter is the same object. Whatever fits into a stream fits into an object.
    """

    tells_repeats = True
    tells_keys = True

    def __init__(self, bucket: str, prefix: str, aws: AwsStores) -> None:
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._aws = aws

    def open(self) -> AbstractAsyncContextManager[None]:
        """Connections while it is entered."""
        return self._aws.open(self.name)

    async def check(self) -> Findings:
        """Writes an empty object called ``leasehold-check``: nothing else tells whether one may."""
        try:
            await self._call("PutObject", Key=f"{self._base}{PROBE}", Body=b"")
        except DeadLetterError as error:
            return Findings.of(error)
        return Findings()

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """An object each."""
        await at_once(letters, self._put)

    async def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """By the objects' names, a thousand at a time, and eight bodies."""
        streams = [selection.stream] if selection.stream is not None else [each async for each in self._streams()]
        for stream in streams:
            folder = self._folder(stream) + ("" if selection.key is None else f"{digest_of(selection.key)}/")
            async for page in self._pages(folder):
                keys = [entry["Key"] for entry in page.get("Contents", ())]
                for first in range(0, len(keys), _READ_AT_ONCE):
                    for found in await at_once(keys[first : first + _READ_AT_ONCE], self._reader(stream, selection)):
                        if found is not None:
                            yield found

    async def find(self, identity: Identity) -> DeadLetter | None:
        """One object."""
        body = await self._get(self._key(identity))
        return None if body is None else decode(body)

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """It is whole: bodies lie with their letters."""
        return letter

    async def remove(self, identity: Identity) -> None:
        """Delete the object."""
        await self._call("DeleteObject", Key=self._key(identity))

    async def held_keys(self, stream: str) -> frozenset[str]:
        """By the names of folders alone."""
        folder = self._folder(stream)
        found: set[str] = set()
        async for page in self._pages(folder, Delimiter="/"):
            found |= {entry["Prefix"][len(folder) :].rstrip("/") for entry in page.get("CommonPrefixes", ())}
        return frozenset(found)

    async def holds(self, stream: str, digest: str) -> bool:
        """By one name."""
        reply = await self._call("ListObjectsV2", Prefix=f"{self._folder(stream)}{digest}/", MaxKeys=1)
        return bool(reply.get("Contents"))

    async def note(self, seen: str, text: str) -> str:
        """An object called ``leasehold-note``, empty where there is none; it is replaced by its ETag."""
        found, condition = "", {"IfNoneMatch": "*"}
        try:
            reply = await self._call("GetObject", Key=f"{self._base}{_NOTE}")
            found, condition = reply["Body"].decode(), {"IfMatch": reply["ETag"]}
        except DeadLetterStoreMissing as error:
            if code_of(error.__cause__) == "NoSuchBucket":
                raise
        if found != seen:
            return found
        try:
            await self._call("PutObject", Key=f"{self._base}{_NOTE}", Body=text.encode(), **condition)
        except DeadLetterError as error:
            if code_of(error.__cause__) not in _OVERTAKEN:
                raise
            return str((await self._call("GetObject", Key=f"{self._base}{_NOTE}"))["Body"], "utf-8")
        return text

    async def _put(self, letter: DeadLetter) -> None:
        key, body = self._key(letter.identity), encode(letter)
        await self._call("PutObject", Key=key, Body=body, ContentType="application/json")

    async def _streams(self) -> AsyncIterator[str]:
        async for page in self._pages(self._base, Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                if (name := entry["Prefix"][len(self._base) :].rstrip("/")) != BODIES:  # another store's, most likely
                    yield unquote(name)

    def _reader(self, stream: str, selection: Selection) -> Any:
        async def read(key: str) -> DeadLetter | Unreadable | None:
            try:
                identity = Identity.of_place(stream, unquote(key[len(self._folder(stream)) :].removesuffix(_SUFFIX)))
            except ValueError:
                return Unreadable(f"s3://{self._bucket}/{key}", "its name is none of a letter's")
            body = await self._get(key) if selection.fits(identity) else None
            try:
                return None if body is None else decode(body)
            except DeadLetterUnreadable as error:
                return Unreadable(f"s3://{self._bucket}/{key}", str(error))

        return read

    async def _pages(self, prefix: str, **more: Any) -> AsyncIterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            reply = await self._call("ListObjectsV2", Prefix=prefix, MaxKeys=PAGE, **more, **token)
            yield reply
            if not reply.get("IsTruncated"):
                return
            token = {"ContinuationToken": reply["NextContinuationToken"]}

    async def _get(self, key: str) -> bytes | None:
        """None where there is no such object; that the bucket is not there is an error."""
        try:
            body: bytes = (await self._call("GetObject", Key=key))["Body"]
        except DeadLetterStoreMissing:
            await self._call("ListObjectsV2", Prefix=key, MaxKeys=1)
            return None
        return body

    async def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self._aws.call("s3", operation, self.name, Bucket=self._bucket, **request)

    def _folder(self, stream: str) -> str:
        return f"{self._base}{quoted(stream)}/"

    def _key(self, identity: Identity) -> str:
        return f"{self._folder(identity.stream)}{identity.place}{_SUFFIX}"
