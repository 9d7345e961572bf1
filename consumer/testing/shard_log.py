"""The pure core of ``consumer.testing``: streams as logs of shards, on an injected clock, without I/O."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from consumer.testing import iterators
from consumer.testing.kinesis_streams import KinesisStreams
from consumer.testing.service_error import ServiceError
from consumer.testing.stream_log import LogPage, StreamLog
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.table_streams import TableStreams

__all__ = ["ShardLog"]


class ShardLog:
    """Every stream of one emulated account and region.

    ``now`` gives epoch seconds (``clock.wall``); ``seed`` decides shard ids and sequence numbers. ``options`` are the
    defaults of streams made without their own. ``tables`` and ``kinesis`` have the rest of what each service knows; the
    methods here are what tests need most. ``prebuild``: make each record's JSON when it arrives, not when it is first
    read. Not safe across threads.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        seed: int = 0,
        region: str = "eu-west-1",
        account_id: str = "000000000000",
        options: StreamOptions | None = None,
        prebuild: bool = False,
    ) -> None:
        self.now = now
        self.options = options or StreamOptions()
        rng = random.Random(seed)
        place: dict[str, Any] = {"region": region, "account_id": account_id}
        self.tables = TableStreams(now, rng, **place, options=self.options, prebuild=prebuild)
        self.kinesis = KinesisStreams(now, rng, **place, options=self.options, prebuild=prebuild)

    def create_table(self, name: str, key_schema: Any = ("pk",), **settings: Any) -> StreamLog:
        """A table with its stream on (``TableStreams.create_table``); returns the stream's log."""
        self.tables.create_table(name, key_schema, **settings)
        return self.stream(name)

    def attach(self, stream_arn: str, key_schema: Any = ("pk",), **settings: Any) -> StreamLog:
        """Serve the stream of a real table under the very ARN that the table names as its LatestStreamArn."""
        table, _, rest = stream_arn.partition(":table/")[2].partition("/stream/")
        if not table or not rest:
            raise ValueError(f"{stream_arn!r} is no ARN of a DynamoDB stream.")
        return self.create_table(table, key_schema, stream_arn=stream_arn, **settings)

    def put_item(
        self,
        table: str,
        *,
        new_image: Mapping[str, Any] | None = None,
        old_image: Mapping[str, Any] | None = None,
        ttl: bool = False,
    ) -> str:
        """Record a change of an item: INSERT (only new image), MODIFY (both), REMOVE (only old); its sequence number.

        Images are plain Python or DynamoDB's JSON. ``ttl``: the service removed the item because it had expired.
        """
        record, _ = self.tables.change(table, new_image=new_image, old_image=old_image, ttl=ttl)
        return str(record.sequence)

    def create_stream(self, name: str, shard_count: int = 1, **settings: Any) -> StreamLog:
        """A Kinesis stream (``KinesisStreams.create``); returns its log."""
        return self.kinesis.create(name, shard_count, **settings).log

    def put_record(self, stream: str, partition_key: str, data: bytes, *, explicit_hash_key: str | None = None) -> str:
        """Append a Kinesis record; its sequence number."""
        record, _ = self.kinesis.put(stream, partition_key, data, explicit_hash_key=explicit_hash_key)
        return str(record.sequence)

    def stream(self, name: str) -> StreamLog:
        """The log of a stream: by ARN, by ``dynamodb:TABLE`` or ``kinesis:STREAM``, or by a bare name, a table's first.

        For a table it is the stream that was switched on last. Raises ServiceError ResourceNotFoundException.
        """
        service, _, rest = name.partition(":")
        if ":dynamodb:" in name:
            return self.tables.by_arn(name)[1].log
        if service == "kinesis" or ":kinesis:" in name or (service != "dynamodb" and name not in self.tables.tables):
            return self.kinesis.stream(rest if service == "kinesis" else name).log
        table = rest if service == "dynamodb" else name
        latest = self.tables.table(table).latest
        if latest is None:
            raise ServiceError("ResourceNotFoundException", f"Table {table} has no stream.")
        return latest.log

    def of_iterator(self, token: str) -> tuple[StreamLog, iterators.Cursor]:
        """The log that an iterator reads, and where; raises ValueError for a token that no log made."""
        cursor = iterators.decode(token)
        if ":kinesis:" in cursor.incarnation:
            return self.kinesis.by_incarnation(cursor.incarnation).log, cursor
        return self.tables.by_arn(cursor.incarnation)[1].log, cursor

    def read(self, token: str, limit: int | None = None) -> LogPage:
        """The page at an iterator."""
        log, cursor = self.of_iterator(token)
        return log.read(cursor, limit)

    def state(self) -> dict[str, Any]:
        """All streams with their shards, as JSON."""
        tables = {
            f"dynamodb:{name}": [stream.log.state() for stream in self.tables.table(name).streams]
            for name in list(self.tables.tables)
        }
        streams = {f"kinesis:{name}": [self.kinesis.stream(name).log.state()] for name in self.kinesis.names()}
        return {"now": self.now(), "streams": {**tables, **streams}}
