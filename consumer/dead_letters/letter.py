"""A dead letter: a record that was given up on, whole, with why, when, and after how many attempts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from consumer.dead_letters.event import event_of, record_in
from consumer.errors import DeadLetterUnreadable
from consumer.failures import Failure
from consumer.record import Record
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from lease_store.checkpoint import is_sequence_number

__all__ = ["BodyPointer", "DeadLetter", "GivenUp", "Identity", "Reason", "digest_of"]

_SUB_DIGITS: Final = 10
_DIGEST_DIGITS: Final = 16


class Reason(StrEnum):
    """Why a record was given up on; ``condition`` is Lambda's word for it, or ours where Lambda has none."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    RECORD_AGE_EXCEEDED = "record_age_exceeded"
    UNDECODABLE = "undecodable"
    KEY_HELD = "key_held"
    RETENTION_HALF_GONE = "retention_half_gone"

    @property
    def condition(self) -> str:
        """``requestContext.condition`` of Lambda's on-failure record."""
        return _CONDITIONS[self]


_CONDITIONS: Final = {
    Reason.ATTEMPTS_EXHAUSTED: "RetryAttemptsExhausted",
    Reason.RECORD_AGE_EXCEEDED: "MaximumRecordAgeExceeded",
    Reason.UNDECODABLE: "Undecodable",
    Reason.KEY_HELD: "KeyHeld",
    Reason.RETENTION_HALF_GONE: "RetentionHalfGone",
}


def digest_of(key: str) -> str:
    """16 hexadecimal digits that stand for a key in the names of letters, which must not show what it is."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_DIGITS]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which record a letter is about, and under which key it waits: a second letter of one record has the same.

    ``stream`` is the label of one incarnation of a stream (``StreamIdentity.label``): a stream that was made anew has
    sequence numbers of its own. ``digest`` follows from the record.
    """

    stream: str
    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    digest: str

    @property
    def place(self) -> str:
        """Sorts a stream's letters as text: key by key, those of one key in the order of the stream.

        By sequence number and not by shard, for these go on growing where a key moves from a parent to its child.
        """
        number = self.sequence_number
        digits = len(number.lstrip("0"))  # a longer number is a greater one, and services may write zeros before it
        return f"{self.digest}/{digits:03}-{number}.{self.sub_sequence_number:0>{_SUB_DIGITS}}.{self.shard_id}"

    def __str__(self) -> str:
        """As it is shown, and read by ``parse``: ``STREAM,SHARD,SEQUENCE.SUB,DIGEST``."""
        return f"{self.stream},{self.shard_id},{self.sequence_number}.{self.sub_sequence_number},{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """From what ``str`` says. Raises ValueError with a sentence."""
        parts = text.strip().rsplit(",", 3)
        number, dot, sub = parts[2].partition(".") if len(parts) == 4 else ("", "", "")
        if not (dot and all(parts) and is_sequence_number(number) and is_sequence_number(sub)):
            raise ValueError(
                f"{text!r} is no letter's name; write STREAM,SHARD,SEQUENCE.SUB,DIGEST, as `leasehold dlq list --each` "
                "prints it."
            )
        return cls(parts[0], parts[1], number, int(sub), parts[3])

    @classmethod
    def of_place(cls, stream: str, place: str) -> Identity:
        """From ``place``. Raises ValueError for what is none."""
        digest, slash, rest = place.partition("/")
        parts = rest.split(".", 2)
        number = parts[0].partition("-")[2]
        if not slash or len(parts) != 3 or not (is_sequence_number(number) and is_sequence_number(parts[1])):
            raise ValueError("no name of a letter")
        return cls(stream, parts[2], number, int(parts[1]), digest)


@dataclass(frozen=True, slots=True)
class BodyPointer:
    """Where the body of a letter lies that did not fit beside the rest."""

    bucket: str
    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What delivery knows when it gives a record up. Instants are epoch seconds.

    ``key_is_held``: later records of the key follow this one into the store (``after_dead_letter="hold_key"``), so that
    nothing newer of the key was processed after it.
    """

    stream: str
    stream_arn: str
    shard_id: str
    app: str
    worker_id: str
    reason: Reason
    attempts: int
    failure: Failure
    first_failed_at: float
    given_up_at: float
    key_is_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One record, given up.

    ``payload`` is the record as an event of Lambda's, JSON text of one record, and None while the store has it
    elsewhere (``body_at``; ``DeadLetterStore.whole`` fetches it). It and ``key`` are payload: neither is in the repr.
    ``arrived_at``: when the record came into the stream, None where the service did not say.
    """

    kind: Literal["dynamodb", "kinesis"]
    stream: str
    stream_arn: str
    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    key: str = field(repr=False)
    arrived_at: float | None
    reason: Reason
    attempts: int
    failure: Failure
    first_failed_at: float
    given_up_at: float
    app: str
    worker_id: str
    key_is_held: bool
    payload: str | None = field(repr=False)
    body_at: BodyPointer | None = None

    @classmethod
    def of(cls, record: Record, given_up: GivenUp) -> DeadLetter:
        """The letter of a record. Raises TypeError for a record that no stream of ours delivers."""
        if not isinstance(record, DynamoDBRecord | KinesisRecord):
            raise TypeError(f"A {type(record).__name__} is a record of neither DynamoDB Streams nor Kinesis.")
        return cls(
            kind="kinesis" if isinstance(record, KinesisRecord) else "dynamodb",
            stream=given_up.stream,
            stream_arn=given_up.stream_arn,
            shard_id=given_up.shard_id,
            sequence_number=record.sequence_number,
            sub_sequence_number=record.sub_sequence_number,
            key=record.key,
            arrived_at=record.timestamp,
            reason=given_up.reason,
            attempts=given_up.attempts,
            failure=given_up.failure,
            first_failed_at=given_up.first_failed_at,
            given_up_at=given_up.given_up_at,
            app=given_up.app,
            worker_id=given_up.worker_id,
            key_is_held=given_up.key_is_held,
            payload=event_of(record, stream_arn=given_up.stream_arn, shard_id=given_up.shard_id),
        )

    @property
    def identity(self) -> Identity:
        """(stream, shard, sequence, sub-sequence), and the digest of the key."""
        return Identity(self.stream, self.shard_id, self.sequence_number, self.sub_sequence_number, digest_of(self.key))

    def record(self) -> DynamoDBRecord | KinesisRecord:
        """The record as it was received, marked as redriven.

        Raises DeadLetterUnreadable where the payload is none, RuntimeError where it was not fetched.
        """
        if self.payload is None:
            raise RuntimeError("The body lies elsewhere; ask the store for the whole letter.")
        try:
            record = record_in(self.payload, self.kind, self.sub_sequence_number)
            if record.sequence_number != self.sequence_number:
                raise ValueError("another record")
            return record
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise DeadLetterUnreadable(
                f"The body of letter {self.identity} is not the record that it should be ({type(error).__name__}); it "
                "was changed after it was written."
            ) from None
