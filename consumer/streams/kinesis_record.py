"""A record of a Kinesis stream."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from consumer.streams.delivered import DeliveredRecord
from consumer.streams.entries import text_of
from consumer.streams.moments import Moment, moment_of, utc
from consumer.streams.sequence_numbers import SequenceNumber
from lease_store.checkpoint import is_sequence_number

__all__ = ["KinesisRecord"]


class KinesisRecord(
    DeliveredRecord,
    frozen=True,
    eq=False,
    gc=False,
    rename={
        "sequence_number": "SequenceNumber",
        "data": "Data",
        "partition_key": "PartitionKey",
        "timestamp": "ApproximateArrivalTimestamp",
        "encryption_type": "EncryptionType",
        # No service has this: aggregates are taken apart here.
        "sub_sequence_number": "leasehold:subSequenceNumber",
    },
):
    """One record, as a source reads it; ``from_entry`` makes one of a dictionary."""

    sequence_number: SequenceNumber
    """Decimal digits, ascending within a shard."""
    data: bytes
    """What the producer put."""
    partition_key: str = ""
    """What the producer put it under; empty where the service sent none."""
    timestamp: Moment | None = None
    """``approximate_arrival_time`` in epoch seconds."""
    encryption_type: str | None = None
    """``NONE`` or ``KMS``; None where the service does not say."""
    sub_sequence_number: int = 0
    """Place within an aggregated record; 0 otherwise."""

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], *, sub_sequence_number: int = 0, redriven: bool = False) -> Self:
        """A record made of an entry of GetRecords as boto3 gives it, or as the service's JSON has it (data in base64).

        ``redriven``: out of a store of dead letters. Fields that are missing or None count as not sent. Raises
        ValueError where the entry has no sequence number or no data (which Kinesis sends as an empty string, never as
        nothing), or a field is not of its type.
        """
        number = entry.get("SequenceNumber")
        data = entry.get("Data")
        if not is_sequence_number(number):
            raise ValueError("An entry of the stream has no sequence number.")
        if not isinstance(data, bytes | str):
            raise ValueError("An entry of the stream has no data.")
        return cls(
            number,
            base64.b64decode(data) if isinstance(data, str) else data,
            text_of(entry, "PartitionKey") or "",
            moment_of(entry.get("ApproximateArrivalTimestamp")),
            text_of(entry, "EncryptionType"),
            sub_sequence_number,
            redriven=redriven,
        )

    @property
    def key(self) -> str:
        """What delivery keeps in order: the partition key. It is payload, and has no place in a log."""
        return self.partition_key

    @property
    def size_bytes(self) -> int:
        """Data and partition key (UTF-8), as Kinesis counts."""
        return len(self.data) + len(self.partition_key.encode(errors="surrogatepass"))

    @property
    def approximate_arrival_time(self) -> datetime | None:
        """When Kinesis got the record, in UTC; None where the service sent none."""
        return utc(self.timestamp)

    @property
    def raw(self) -> dict[str, Any]:
        """The entry as boto3 gives it, put together anew with every access; its time is in UTC."""
        entry = {
            "SequenceNumber": self.sequence_number,
            "ApproximateArrivalTimestamp": self.approximate_arrival_time,
            "Data": self.data,
            "PartitionKey": self.partition_key or None,
            "EncryptionType": self.encryption_type,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def detach(self) -> Self:
        """The record itself, which owns its bytes already: nothing of its page is kept by it."""
        return self

    def __repr__(self) -> str:
        # Neither data nor key: records end up in logs and tracebacks.
        return f"<KinesisRecord {self.sequence_number} of {self.size_bytes} bytes>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("sequence_number", self.sequence_number), ("size_bytes", self.size_bytes)]
