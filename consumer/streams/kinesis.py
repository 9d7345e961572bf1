"""A Kinesis stream as a source of records, by polling."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from consumer.clock import Clock, SystemClock
from consumer.config import DataPath
from consumer.errors import PositionRefused, ShardNotFound, StreamMissing, StreamUnavailable
from consumer.streams.address import Address, parse_address
from consumer.streams.aws_clients import AwsClients, SessionSource
from consumer.streams.entries import first_sequence_number_of, hash_range_of, is_open, shard_id_of
from consumer.streams.listing_pages import later_page
from consumer.streams.pages import believed, page_of
from consumer.streams.server_clock import server_time_of, time_if_future
from consumer.streams.source import (
    LEAST_RETENTION_SECONDS,
    Opened,
    Page,
    Position,
    Shard,
    ShardListing,
    StreamIdentity,
)

__all__ = ["KinesisSource"]

_READS_PER_SECOND: Final = 5.0
_RECORDS_A_PAGE: Final = 10_000
_SHARDS_A_PAGE: Final = 1000
_STATES_OF_LIFE: Final = frozenset({"ACTIVE", "CREATING", "UPDATING"})


class KinesisSource:
    """A stream by name or ARN; of another account only by ARN.

    A stream that was deleted and made again repeats its ARN and its shard ids, so its label carries the creation time,
    and calls for an incarnation that is over say so instead of answering with the next one's shards. Region, endpoint
    and credentials are botocore's own settings unless given.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        region_name: str | None = None,
        session: SessionSource = None,
        clock: Clock | None = None,
    ) -> None:
        self._address = parse_address(address) if isinstance(address, str) else address
        self._clock = clock or SystemClock()
        self._seen: tuple[float, str] | None = None
        self._clients = AwsClients(
            ("kinesis",),
            self._address.text,
            clock=self._clock,
            session=session,
            region_name=region_name or self._address.region,
        )
        # Old and imitated services know names only; another account's stream is known by its ARN only.
        self._stream = {"StreamARN": self._address.arn} if self._address.arn else {"StreamName": self._address.name}

    @property
    def name(self) -> str:
        """As the user gave it."""
        return self._address.text

    @property
    def max_reads_per_second(self) -> float | None:
        """5: the limit of GetRecords calls on one shard, shared by everybody who reads it."""
        return _READS_PER_SECOND

    def share(self, workers: int) -> None:
        """Nothing to keep to: ListShards allows 1,000 calls a second, and children come with the last page."""

    @property
    def data_path(self) -> Literal["direct", "plain"]:
        """How pages are read now: over direct connections, or through botocore (as the first page always is)."""
        return self._clients.data_path

    def open(self, data_path: DataPath = "auto") -> AbstractAsyncContextManager[None]:
        """Connections for the running loop; workers and loops may share one source.

        ``data_path`` "plain" reads pages through botocore only.
        """
        return self._clients.open(data_path)

    async def resolve(self) -> StreamIdentity:
        """The stream of that name as it is now. Raises StreamMissing."""
        asked_at = self._clock.monotonic()  # a late reply tells of then, and the next stream may be there by now
        reply = await self._call("DescribeStreamSummary", self._stream)
        summary = reply.get("StreamDescriptionSummary")
        arn = summary.get("StreamARN") if isinstance(summary, Mapping) else None
        created_at = summary.get("StreamCreationTimestamp") if isinstance(summary, Mapping) else None
        if not arn or not isinstance(created_at, datetime):
            raise StreamUnavailable(
                f"DescribeStreamSummary on {self.name} answered without an ARN or a creation time. It is tried again."
            )
        status = summary.get("StreamStatus") if isinstance(summary, Mapping) else None
        label = f"{arn}@" + f"{created_at.timestamp():.3f}".rstrip("0").rstrip(".")
        if self._seen is None or asked_at >= self._seen[0]:
            self._seen = (asked_at, label)
        hours = summary.get("RetentionPeriodHours") if isinstance(summary, Mapping) else None
        return StreamIdentity(
            arn=arn,
            label=label,
            base=arn,
            enabled=status is None or status in _STATES_OF_LIFE,
            retention_seconds=hours * 3600.0 if isinstance(hours, int) and hours > 0 else LEAST_RETENTION_SECONDS,
        )

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        """Every page of ListShards. Raises StreamUnavailable rather than return a part, StreamMissing when over."""
        if await self._is_over(stream, looked_within_seconds=1.0):
            raise StreamMissing(f"Stream {stream.label} was deleted; {self.name} is another one now.")
        shards: list[Shard] = []
        server_time: float | None = None
        request: Mapping[str, Any] = {**self._stream, "MaxResults": _SHARDS_A_PAGE}
        tokens: set[str] = set()
        # Ends with the list: a token stands for the place after the last page, and none comes twice.
        while True:
            ask = partial(self._page, request)
            found, token, page_time = await (later_page(ask, self._clock) if tokens else ask())
            shards += found
            # The last page's clock: by then all had closed that any page shows as closed or as followed by children.
            server_time = server_time if page_time is None else page_time
            if not token:
                return ShardListing(tuple(shards), server_time)
            if token in tokens:
                raise StreamUnavailable(f"ListShards on {self.name} repeats its token. It is tried again.")
            tokens.add(token)
            request = {"NextToken": token, "MaxResults": _SHARDS_A_PAGE}

    async def _page(self, request: Mapping[str, Any]) -> tuple[list[Shard], str | None, float | None]:
        """One page: its shards, the token of the next one, the service's clock."""
        reply = await self._call("ListShards", request)
        return self._shards_of(reply), reply.get("NextToken") or None, server_time_of(reply)

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The children of ``shard_id``; usually known already, from the last page of its records."""
        listing = await self.list_shards(stream)
        return tuple(shard for shard in listing.shards if shard_id in shard.parents and shard.id != shard_id)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        """An iterator at ``position``. Raises ShardNotFound after the incarnation's time."""
        if await self._is_over(stream, looked_within_seconds=10.0):
            raise ShardNotFound(f"Shard {shard_id} of {stream.label} was deleted with its stream.")
        try:
            return Opened(await self._iterator(shard_id, position))
        except PositionRefused as error:
            now = None if position.timestamp is None else time_if_future(error, position.timestamp)
            if now is None:
                raise
        return Opened(await self._iterator(shard_id, replace(position, timestamp=now)), drop_before=position.timestamp)

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        """The next page, of at most 10,000 records."""
        by_arn = {"StreamARN": self._address.arn} if self._address.arn else {}
        request = {"ShardIterator": iterator, "Limit": max(1, min(limit, _RECORDS_A_PAGE)), **by_arn}

        async def get_records() -> Page:
            reply = await self._clients.get_records("kinesis", request, resource=self.name, shard_id=shard_id)
            children = reply.children or ()
            believes = reply.next_iterator is None and all(shard_id in child.parents for child in children)
            return page_of(reply, children=(children or None) if believes else None)

        return await believed(get_records, shard_id)

    async def _iterator(self, shard_id: str, position: Position) -> str:
        request: dict[str, Any] = {**self._stream, "ShardId": shard_id, "ShardIteratorType": position.kind}
        if position.sequence_number is not None:
            request["StartingSequenceNumber"] = position.sequence_number
        if position.timestamp is not None:
            request["Timestamp"] = datetime.fromtimestamp(position.timestamp, UTC)
        reply = await self._call("GetShardIterator", request, shard_id)
        iterator = reply.get("ShardIterator")
        if not isinstance(iterator, str) or not iterator:
            raise StreamUnavailable(f"GetShardIterator of shard {shard_id} answered without an iterator.")
        return iterator

    async def _is_over(self, stream: StreamIdentity, *, looked_within_seconds: float) -> bool:
        """Whether the stream of this name is another incarnation by now, looking again where the last look is older.

        Names, ARNs and shard ids can't tell; only the creation time can, and DescribeStreamSummary takes 20 calls a
        second.
        """
        if self._seen is None or self._clock.monotonic() - self._seen[0] > looked_within_seconds:
            return (await self.resolve()).label != stream.label
        return self._seen[1] != stream.label

    async def _call(self, operation: str, request: Mapping[str, Any], shard_id: str | None = None) -> dict[str, Any]:
        return await self._clients.call("kinesis", operation, request, resource=self.name, shard_id=shard_id)

    def _shards_of(self, reply: Mapping[str, Any]) -> list[Shard]:
        """One page's shards; an unreadable one spoils the listing, since a shard that is not listed counts as gone."""
        entries = reply.get("Shards")
        if not isinstance(entries, list):
            raise StreamUnavailable(f"ListShards on {self.name} answered without a list of shards. It is tried again.")
        shards = [_shard_of(entry) for entry in entries]
        if None in shards:
            raise StreamUnavailable(f"ListShards on {self.name} listed something that is no shard. It is tried again.")
        return [shard for shard in shards if shard is not None]


def _shard_of(entry: Any) -> Shard | None:
    shard_id = shard_id_of(entry)
    if shard_id is None:
        return None
    parents = {entry.get("ParentShardId"), entry.get("AdjacentParentShardId")} - {None, ""}
    return Shard(
        id=shard_id,
        parents=tuple(sorted(parents)),
        is_open=is_open(entry),
        hash_range=hash_range_of(entry),
        first_sequence_number=first_sequence_number_of(entry),
    )
