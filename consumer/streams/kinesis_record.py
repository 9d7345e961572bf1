"""A record of a Kinesis stream."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lease_store.checkpoint import is_sequence_number

__all__ = ["KinesisRecord"]


class KinesisRecord:
    """One record, made from an entry of GetRecords as botocore parses it.

    ``size_bytes`` counts data and partition key, as Kinesis does. Raises ValueError when made from something that has
    no sequence number or no data (which Kinesis sends as an empty string, never as nothing).
    """

    __slots__ = ("data", "partition_key", "raw", "sequence_number", "size_bytes", "sub_sequence_number")

    data: bytes
    partition_key: str
    raw: Mapping[str, Any]
    sequence_number: str
    size_bytes: int
    sub_sequence_number: int

    def __init__(self, raw: Mapping[str, Any], *, sub_sequence_number: int = 0) -> None:
        number = raw.get("SequenceNumber")
        data = raw.get("Data")
        if not is_sequence_number(number):
            raise ValueError("An entry of the stream has no sequence number.")
        if not isinstance(data, bytes):
            raise ValueError("An entry of the stream has no data.")
        key = raw.get("PartitionKey")
        self.raw = raw
        self.data = data
        self.partition_key = key if isinstance(key, str) else ""
        self.sequence_number = number
        self.sub_sequence_number = sub_sequence_number
        self.size_bytes = len(data) + len(self.partition_key.encode())

    @property
    def approximate_arrival_time(self) -> datetime | None:
        """When Kinesis got the record, in UTC; None where the service sent none."""
        moment = self.raw.get("ApproximateArrivalTimestamp")
        return moment.astimezone(UTC) if isinstance(moment, datetime) else None

    @property
    def timestamp(self) -> float | None:
        """``approximate_arrival_time`` in epoch seconds."""
        moment = self.raw.get("ApproximateArrivalTimestamp")
        return moment.timestamp() if isinstance(moment, datetime) else None

    @property
    def encryption_type(self) -> str | None:
        """``NONE`` or ``KMS``; None where the service does not say."""
        kind = self.raw.get("EncryptionType")
        return kind if isinstance(kind, str) else None

    def __repr__(self) -> str:
        # Neither data nor key: records end up in logs and tracebacks.
        return f"<KinesisRecord {self.sequence_number} of {self.size_bytes} bytes>"
