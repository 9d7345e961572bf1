"""Feeds a shard log from the real stream of a table on another local server, so that real writes meet rotating shards.

A server such as ministack keeps a table's stream in one shard for ever. This reads that shard and lays every record, in
order, on the shards of the log, by partition key, under sequence numbers of the log's own.
"""

from __future__ import annotations

from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from consumer.clock import Clock
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import StreamOptions

__all__ = ["TableFeed"]

# Never anybody's real ones: the other server is a local stand-in, too.
_CREDENTIALS: Final = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
_CLIENT: Final = AioConfig(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
_PAGE: Final = 1_000
_LONGEST_PAUSE_SECONDS: Final = 1.0


class TableFeed:
    """One table's real stream, read from its horizon on for as long as ``run`` runs.

    Whatever goes wrong in between is tried again, after 0.05 to 1 s, from the record that was laid down last: nothing
    is lost and nothing comes twice. ``records`` and ``errors`` count; ``last_error`` says what went wrong last.
    """

    def __init__(
        self,
        log: ShardLog,
        table: str,
        *,
        endpoint_url: str,
        clock: Clock,
        region: str = "us-east-1",
        idle_seconds: float = 0.05,
    ) -> None:
        self.table = table
        self.records = 0
        self.errors = 0
        self.last_error = ""
        self._log = log
        self._clock = clock
        self._idle_seconds = idle_seconds
        address = {"endpoint_url": endpoint_url, "region_name": region}
        self._client: dict[str, Any] = {**address, "config": _CLIENT, **_CREDENTIALS}
        self._stream_arn = ""
        self._last_sequence: str | None = None
        self._pages = 0

    async def attach(self, *, shard_count: int = 1, options: StreamOptions | None = None) -> str:
        """Serve the table's stream under its own ARN, which is returned; LookupError if it has none."""
        async with get_session().create_client("dynamodb", **self._client) as client:
            described = (await client.describe_table(TableName=self.table))["Table"]
        arn = described.get("LatestStreamArn")
        if not arn:
            raise LookupError(f"Table {self.table} has no stream; enable it with a StreamSpecification.")
        types = {each["AttributeName"]: each["AttributeType"] for each in described["AttributeDefinitions"]}
        schema = sorted(described["KeySchema"], key=lambda element: element["KeyType"])
        keys = {element["AttributeName"]: types[element["AttributeName"]] for element in schema}
        view_type = described["StreamSpecification"]["StreamViewType"]
        self._log.attach(arn, keys, view_type=view_type, shard_count=shard_count, options=options)
        self._stream_arn = arn
        return str(arn)

    async def run(self) -> None:
        """Read and lay down until cancelled."""
        pause = self._idle_seconds
        async with get_session().create_client("dynamodbstreams", **self._client) as client:
            while True:
                before = self._pages
                try:
                    await self._read_on(client)
                except (BotoCoreError, ClientError, LookupError, OSError, TimeoutError) as error:
                    self.errors += 1
                    self.last_error = f"{type(error).__name__}: {error}"
                pause = self._idle_seconds if self._pages > before else min(pause * 2, _LONGEST_PAUSE_SECONDS)
                await self._clock.sleep(pause)

    async def _read_on(self, client: Any) -> None:
        """Read from the last record on until something goes wrong."""
        token = await self._iterator(client)
        while True:
            page = await client.get_records(ShardIterator=token, Limit=_PAGE)
            self._pages += 1
            for record in page["Records"]:
                self._lay_down(record)
            token = page.get("NextShardIterator")
            if not token:
                raise LookupError(f"The stream of table {self.table} ended: {self._stream_arn}")
            if len(page["Records"]) < _PAGE:
                await self._clock.sleep(self._idle_seconds)

    async def _iterator(self, client: Any) -> str:
        described = (await client.describe_stream(StreamArn=self._stream_arn))["StreamDescription"]
        if len(described["Shards"]) != 1:
            # Records of several shards have no common order that could be kept.
            raise LookupError(
                f"The stream of table {self.table} has {len(described['Shards'])} shards; a feed needs one."
            )
        place = {"StreamArn": self._stream_arn, "ShardId": described["Shards"][0]["ShardId"]}
        if self._last_sequence is None:
            reply = await client.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")
        else:
            reply = await client.get_shard_iterator(
                **place, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=self._last_sequence
            )
        return str(reply["ShardIterator"])

    def _lay_down(self, record: dict[str, Any]) -> None:
        change = record["dynamodb"]
        self._log.tables.append(
            self.table,
            record["eventName"],
            change["Keys"],
            new_image=change.get("NewImage"),
            old_image=change.get("OldImage"),
            user_identity=record.get("userIdentity") or None,
            event_id=record.get("eventID"),
        )
        self._last_sequence = change["SequenceNumber"]
        self.records += 1
