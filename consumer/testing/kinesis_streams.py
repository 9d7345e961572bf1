"""Kinesis data streams: created, fed, resharded, deleted, and created again under the same name."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from consumer.testing.hash_space import HASH_SPACE
from consumer.testing.log_shard import LogRecord
from consumer.testing.service_error import ServiceError
from consumer.testing.stream_log import StreamLog
from consumer.testing.stream_rules import KINESIS, StreamOptions

__all__ = ["KinesisStream", "KinesisStreams"]

# Partition key and data together; the service's default for a stream.
_RECORD_BYTES = 1_048_576


@dataclass(slots=True)
class KinesisStream:
    """One life of a stream.

    ``created_at`` is a whole second, as the service publishes it; ``status_until`` ends CREATING or UPDATING.
    """

    name: str
    log: StreamLog
    created_at: int
    mode: str
    status: str = "ACTIVE"
    status_until: float = 0.0

    @property
    def id(self) -> str:
        """The service's StreamId; another for each life of the stream."""
        digest = hashlib.blake2b(self.log.incarnation.encode("utf-8"), digest_size=12).hexdigest()
        return f"{digest[:20]}-{digest[20:23]}"


class KinesisStreams:
    """Every stream of the Kinesis side of a shard log. Raises ServiceError as the service would."""

    def __init__(
        self,
        now: Callable[[], float],
        rng: random.Random,
        *,
        region: str,
        account_id: str,
        options: StreamOptions,
        prebuild: bool,
    ) -> None:
        self.region = region
        self.account_id = account_id
        self.options = options
        self._prebuild = prebuild
        self._streams: dict[str, KinesisStream] = {}
        self._births: dict[str, int] = {}
        self._now = now
        self._rng = rng

    def create(
        self, name: str, shard_count: int = 1, *, mode: str = "PROVISIONED", options: StreamOptions | None = None
    ) -> KinesisStream:
        """A stream with ``shard_count`` even shards; under a name used before it repeats ARN and shard ids."""
        if name in self.names():
            raise ServiceError(
                "ResourceInUseException", f"Stream {name} under account {self.account_id} already exists."
            )
        if shard_count < 1:
            raise ServiceError("ValidationException", f"ShardCount {shard_count} is below 1.")
        arn = f"arn:aws:kinesis:{self.region}:{self.account_id}:stream/{name}"
        # Two lives within one second would look like one: the service needs longer than that to delete a stream.
        born = max(math.floor(self._now()), self._births.get(name, 0) + 1)
        self._births[name] = born
        log = StreamLog(
            KINESIS,
            arn=arn,
            incarnation=f"{arn}@{born}",
            now=self._now,
            rng=self._rng,
            shard_count=shard_count,
            options=options or self.options,
            prebuild=self._prebuild,
        )
        stream = KinesisStream(name, log, born, mode)
        self._enter(stream, "CREATING")
        self._streams[name] = stream
        return stream

    def delete(self, name: str) -> None:
        """Delete the stream with all its records; it stays DELETING for its transition time."""
        stream = self.stream(name)
        self._enter(stream, "DELETING")
        self.names()

    def names(self) -> list[str]:
        """The streams that exist now, by name; transitions whose time is over are carried out."""
        now = self._now()
        for stream in list(self._streams.values()):
            if stream.status != "ACTIVE" and now >= stream.status_until:
                if stream.status == "DELETING":
                    del self._streams[stream.name]
                else:
                    stream.status = "ACTIVE"
        return sorted(self._streams)

    def stream(self, name: str) -> KinesisStream:
        """The stream that has this name or ARN now; raises ResourceNotFoundException."""
        bare = name.rpartition(":stream/")[2]
        if bare not in self.names():
            raise ServiceError("ResourceNotFoundException", f"Stream {bare} under account {self.account_id} not found.")
        return self._streams[bare]

    def named(self, arn: str | None, name: str | None) -> KinesisStream:
        """The stream that a request names by ARN, name or both; raises InvalidArgumentException where it names none."""
        if arn is None and name is None:
            raise ServiceError("InvalidArgumentException", "Either StreamARN or StreamName is needed.")
        if arn is not None and name is not None and arn.rpartition(":stream/")[2] != name:
            raise ServiceError("InvalidArgumentException", f"StreamARN {arn} does not belong to StreamName {name}.")
        return self.stream(arn or name or "")

    def by_incarnation(self, incarnation: str) -> KinesisStream:
        """The stream whose life that is; raises ResourceNotFoundException when it was deleted."""
        for name in self.names():
            if self._streams[name].log.incarnation == incarnation:
                return self._streams[name]
        raise ServiceError("ResourceNotFoundException", "The stream that this iterator belongs to was deleted.")

    def put(
        self, name: str, partition_key: str, data: bytes, *, explicit_hash_key: str | None = None
    ) -> tuple[LogRecord, str]:
        """Append a record; returns it and the id of its shard."""
        stream = self.stream(name)
        if stream.status in ("CREATING", "DELETING"):
            raise ServiceError("ResourceNotFoundException", f"Stream {name} is {stream.status}.")
        if not 1 <= len(partition_key) <= 256:
            raise ServiceError("ValidationException", "A PartitionKey has 1 to 256 characters.")
        size = len(data) + len(partition_key.encode("utf-8"))
        if size > _RECORD_BYTES:
            raise ServiceError("InvalidArgumentException", f"The record has {size} bytes, {_RECORD_BYTES} are allowed.")
        hash_key = None if explicit_hash_key is None else _hash_key(explicit_hash_key)

        def compose(sequence: str, stamp: float) -> dict[str, Any]:
            at = datetime.fromtimestamp(stamp, UTC)
            return {
                "SequenceNumber": sequence,
                "ApproximateArrivalTimestamp": at,
                "Data": data,
                "PartitionKey": partition_key,
            }

        return stream.log.append(partition_key, size, compose, hash_key=hash_key)

    def resharding(self, name: str) -> StreamLog:
        """The stream's log, to be split, merged or resharded; the stream is UPDATING for its transition time."""
        stream = self.stream(name)
        if stream.status != "ACTIVE":
            raise ServiceError("ResourceInUseException", f"Stream {stream.name} is {stream.status}, not ACTIVE.")
        return stream.log

    def updated(self, name: str) -> None:
        """A split, merge or resharding has been carried out."""
        self._enter(self.stream(name), "UPDATING")

    def _enter(self, stream: KinesisStream, status: str) -> None:
        stream.status = status
        stream.status_until = self._now() + stream.log.options.transition_seconds


def _hash_key(text: str) -> int:
    if not (text.isascii() and text.isdigit() and HASH_SPACE[0] <= int(text) <= HASH_SPACE[1]):
        raise ServiceError("InvalidArgumentException", f"ExplicitHashKey {text!r} is no number from 0 to 2^128 - 1.")
    return int(text)
