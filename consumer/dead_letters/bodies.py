"""Bodies that do not fit beside the rest of their letters: in a bucket, under the names of their letters."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from consumer.dead_letters.aws import AwsStores
from consumer.dead_letters.envelope import body_of, encode, with_body
from consumer.dead_letters.letter import BodyPointer, DeadLetter
from consumer.dead_letters.store import Findings
from consumer.errors import DeadLetterError, DeadLetterTooLarge

__all__ = ["BODIES", "PROBE", "Bodies", "quoted"]

PROBE: Final = "leasehold-check"
BODIES: Final = "leasehold-bodies"


def quoted(stream: str) -> str:
    """A stream's label as one step of a path."""
    return quote(stream, safe=":@")


class Bodies:
    """Puts bodies into ``bucket`` (None: there is none) on behalf of a store that takes letters of some size."""

    def __init__(self, aws: AwsStores, bucket: str | None) -> None:
        self._aws = aws
        self._bucket = bucket

    async def fitted(self, letter: DeadLetter, most_bytes: int, store: str) -> bytes:
        """The letter's envelope, of ``most_bytes`` at most; its body was put elsewhere first where it must be.

        Raises DeadLetterTooLarge where there is no elsewhere.
        """
        envelope = encode(letter)
        if len(envelope) <= most_bytes:
            return envelope
        if self._bucket is None:
            raise DeadLetterTooLarge(
                f"The letter of record {letter.sequence_number} of shard {letter.shard_id} has {len(envelope):,} "
                f"bytes, and {store} takes {most_bytes:,}. Name a bucket for such bodies with --dead-letter-bucket; "
                "until then the shard waits, and nothing is lost, up to the stream's retention."
            )
        body = body_of(letter)
        key = f"{BODIES}/{quoted(letter.stream)}/{letter.identity.place}.json"
        await self._call("PutObject", Key=key, Body=body, ContentType="application/json")
        return encode(replace(letter, payload=None, body_at=BodyPointer(self._bucket, key, len(body))))

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """The letter with its body. Raises DeadLetterStoreMissing where somebody took it away."""
        if letter.payload is not None or letter.body_at is None:
            return letter
        place = letter.body_at
        reply = await self._aws.call(
            "s3", "GetObject", f"s3://{place.bucket}/{place.key}", Bucket=place.bucket, Key=place.key
        )
        return with_body(letter, reply["Body"])

    async def remove(self, letter: DeadLetter) -> None:
        """Delete the body where it lies elsewhere; to be called once the letter itself is gone."""
        if letter.body_at is not None:
            place = letter.body_at
            await self._aws.call("s3", "DeleteObject", f"s3://{place.bucket}", Bucket=place.bucket, Key=place.key)

    async def check(self, store: str, most_bytes: int) -> Findings:
        """Whether bodies can be put there; a warning where there is no bucket and records may not fit."""
        if self._bucket is None:
            warning = (
                f"{store} takes letters of {most_bytes:,} bytes, and records may be larger: the shard of such a one "
                "would wait. Name a bucket for their bodies with --dead-letter-bucket."
            )
            return Findings(warnings=(warning,))
        try:
            await self._call("PutObject", Key=f"{BODIES}/{PROBE}", Body=b"")
        except DeadLetterError as error:
            return Findings.of(error)
        return Findings()

    async def _call(self, operation: str, **request: object) -> None:
        await self._aws.call("s3", operation, f"s3://{self._bucket}", Bucket=self._bucket, **request)
