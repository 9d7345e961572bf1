"""The stream of a DynamoDB table as a source of records."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, Literal

from consumer.clock import Clock, SystemClock
from consumer.config import DataPath
from consumer.errors import PositionRefused, StreamDisabled, StreamError, StreamUnavailable
from consumer.record import ViewType
from consumer.retry import RateLimit
from consumer.streams.address import Address, parse_address
from consumer.streams.aws_clients import AwsClients, SessionSource
from consumer.streams.entries import is_open, shard_id_of
from consumer.streams.joint_listing import JointListing
from consumer.streams.lineage import shard_created_at
from consumer.streams.listing_pages import later_page
from consumer.streams.pages import believed, page_of
from consumer.streams.server_clock import server_time_of, time_if_future
from consumer.streams.source import NO_HASH_RANGE, Opened, Page, Position, Shard, ShardListing, StreamIdentity

__all__ = ["DynamoDBStreamsSource"]

_log = logging.getLogger("leasehold.streams")

DESCRIBES_PER_SECOND: Final = 8.0
_SHARDS_A_PAGE: Final = 100
_RECORDS_A_PAGE: Final = 1000
_STATES_OF_LIFE: Final = frozenset({"ENABLED", "ENABLING"})


class DynamoDBStreamsSource:
    """A table's stream: its latest one for an address by table, or the very one that a stream ARN names.

    DescribeStream is limited to 10 calls a second for account and stream together, so a fleet keeps to
    ``describes_per_second``. Where the service or this botocore does not know AT_TIMESTAMP or the filter for children,
    that is remembered and done without. Region, endpoint and credentials are botocore's own settings unless given.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        region_name: str | None = None,
        session: SessionSource = None,
        clock: Clock | None = None,
        describes_per_second: float = DESCRIBES_PER_SECOND,
    ) -> None:
        self._address = parse_address(address) if isinstance(address, str) else address
        self._clock = clock = clock or SystemClock()
        services = ("dynamodbstreams",) if self._address.is_stream_arn else ("dynamodbstreams", "dynamodb")
        self._clients = AwsClients(
            services, self._address.text, clock=clock, session=session, region_name=region_name or self._address.region
        )
        self._describes_per_second = describes_per_second
        self._describes = RateLimit(clock, describes_per_second, burst=1)
        self._knows_timestamps = True
        self._knows_child_filter = True
        self._joint_listing = JointListing(self._list_for_askers, self._clients.start, self._describes.acquire)
        self._asking: Counter[str] = Counter()
        self._unseen: set[str] = set()

    @property
    def name(self) -> str:
        """As the user gave it."""
        return self._address.text

    @property
    def max_reads_per_second(self) -> float | None:
        """None: DynamoDB Streams limits bytes, not calls on one shard."""
        return None

    def share(self, workers: int) -> None:
        """Keep the whole fleet's calls of DescribeStream within what one worker alone would make."""
        self._describes.change(self._describes_per_second / max(1, workers))

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
        """The table's latest stream, enabled or not. Raises StreamMissing, StreamDisabled for a table without one."""
        arn = self._address.arn if self._address.is_stream_arn and self._address.arn else await self._latest_stream()
        await self._describes.acquire()
        described, _ = await self._describe(arn, {"Limit": 1})
        status = described.get("StreamStatus")
        view_type = described.get("StreamViewType")
        return StreamIdentity(
            arn=arn,
            label=arn,
            base=arn.partition("/stream/")[0],
            view_type=ViewType(view_type) if view_type in set(ViewType) else None,
            enabled=status is None or status in _STATES_OF_LIFE,
        )

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        """Every page of DescribeStream. Raises StreamUnavailable rather than return a part."""
        return await self._list(stream.arn, {})

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The children of ``shard_id``, from one listing for all who ask at the same time.

        It is the end of the list that is looked at first; who was not answered by it asks for itself, with a filter.
        """
        self._asking[shard_id] += 1
        try:
            shards = await self._shards_with_children(stream, shard_id)
        finally:
            self._asking[shard_id] -= 1
            self._asking += Counter()  # keeps only who still asks
        # A service that does not know the filter may also ignore it and send everything.
        found = tuple(shard for shard in shards if shard_id in shard.parents and shard.id != shard_id)
        (self._unseen.discard if found else self._unseen.add)(shard_id)
        return found

    async def _shards_with_children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        if self._knows_child_filter and shard_id in self._unseen:
            try:
                only_children = {"ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": shard_id}}
                return (await self._list(stream.arn, only_children)).shards
            except StreamError as error:
                if type(error) is not StreamError:
                    raise
                # The plain class: a value of the request was refused, and the filter is the only one that can be.
                self._knows_child_filter = False
                _log.info("%s: children are looked for in the whole list of shards from now on: %s", self.name, error)
        return (await self._joint_listing.get(stream.arn)).shards

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        """An iterator at ``position``; from the horizon, with what to drop, where AT_TIMESTAMP is not known."""
        request: dict[str, Any] = {"StreamArn": stream.arn, "ShardId": shard_id, "ShardIteratorType": position.kind}
        if position.kind != "AT_TIMESTAMP":
            if position.sequence_number is not None:
                request["SequenceNumber"] = position.sequence_number
            return Opened(await self._iterator(request))
        # Records carry whole seconds, floored: one of 10.7 says 10 and must not be dropped for an instant of 10.5.
        second = math.floor(position.timestamp or 0.0)
        if self._knows_timestamps:
            try:
                return await self._at_timestamp(request, second)
            except PositionRefused as error:
                self._knows_timestamps = False
                _log.info("%s: AT_TIMESTAMP is unknown here, records are read from the horizon: %s", self.name, error)
        iterator = await self._iterator(request | {"ShardIteratorType": "TRIM_HORIZON"})
        return Opened(iterator, drop_before=float(second))

    async def read(self, stream: StreamIdentity, shard_id: str, iterator: str, limit: int) -> Page:
        """The next page, of at most 1,000 records."""
        request = {"ShardIterator": iterator, "Limit": max(1, min(limit, _RECORDS_A_PAGE))}

        async def get_records() -> Page:
            ask = self._clients.get_records
            return page_of(await ask("dynamodbstreams", request, resource=stream.arn, shard_id=shard_id))

        return await believed(get_records, shard_id)

    async def _at_timestamp(self, request: Mapping[str, Any], second: int) -> Opened:
        try:
            return Opened(await self._iterator({**request, "Timestamp": second}))
        except PositionRefused as error:
            now = time_if_future(error, second)
            if now is None:
                raise
        return Opened(await self._iterator({**request, "Timestamp": int(now)}), drop_before=float(second))

    async def _latest_stream(self) -> str:
        table = self._address.arn or self._address.name
        reply = await self._clients.call("dynamodb", "DescribeTable", {"TableName": table}, resource=table)
        described = reply.get("Table")
        if not isinstance(described, Mapping):
            raise StreamUnavailable(f"DescribeTable on {table} answered without a table. It is tried again.")
        arn = described.get("LatestStreamArn")
        if not isinstance(arn, str) or not arn:
            raise StreamDisabled(
                f"Table {table} has no stream. Enable it: aws dynamodb update-table --table-name {self._address.name} "
                "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
            )
        return arn

    async def _list_for_askers(self, arn: str) -> ShardListing:
        """The shards after the oldest one whose children are asked for: a page or two of a list that may have many.

        Shard ids begin with the time of their creation and lists come in their order, which is not documented: whose
        children the end of the list did not show is looked for in the whole of it the next time.
        """
        asking = set(self._asking)
        if not asking or asking & self._unseen:
            return await self._list(arn, {}, has_turn=True)
        try:
            return await self._list(arn, {}, after=min(asking), has_turn=True)
        except StreamError as error:
            if type(error) is not StreamError:
                raise
            # The plain class: a value of the request was refused, and the place to begin at is the only odd one.
            return await self._list(arn, {})

    async def _list(
        self, arn: str, parameters: Mapping[str, Any], *, after: str | None = None, has_turn: bool = False
    ) -> ShardListing:
        """All pages of one question to DescribeStream; the clock is the first page's, before anything else was seen."""
        shards: list[Shard] = []
        server_time: float | None = None
        start = after
        ends: set[str] = set()
        # Ends with the list: each page begins after the shard that ended the last one, and none ends where one did.
        while True:
            beyond = {} if start is None else {"ExclusiveStartShardId": start}
            ask = partial(self._page, arn, {**parameters, **beyond}, has_turn=has_turn and start == after)
            found, last, page_time = await (ask() if start == after else later_page(ask, self._clock))
            shards += found
            server_time = page_time if server_time is None else server_time
            if not last:
                return ShardListing(tuple(shards), server_time)
            if last == start or last in ends:
                raise StreamUnavailable(f"DescribeStream on {arn} does not move past shard {last}. It is tried again.")
            ends.add(last)
            start = last

    async def _page(
        self, arn: str, parameters: Mapping[str, Any], *, has_turn: bool
    ) -> tuple[list[Shard], str | None, float | None]:
        """One page in its turn: its shards, after which one the next begins, the service's clock."""
        if not has_turn:
            await self._describes.acquire()
        described, page_time = await self._describe(arn, {"Limit": _SHARDS_A_PAGE, **parameters})
        return _shards_of(described, arn), described.get("LastEvaluatedShardId") or None, page_time

    async def _describe(self, arn: str, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], float | None]:
        """One page; whoever calls this has waited for a turn."""
        request = {"StreamArn": arn, **parameters}
        reply = await self._clients.call("dynamodbstreams", "DescribeStream", request, resource=arn)
        described = reply.get("StreamDescription")
        if not isinstance(described, Mapping):
            raise StreamUnavailable(f"DescribeStream on {arn} answered without a description. It is tried again.")
        return described, server_time_of(reply)

    async def _iterator(self, request: Mapping[str, Any]) -> str:
        reply = await self._clients.call(
            "dynamodbstreams", "GetShardIterator", request, resource=request["StreamArn"], shard_id=request["ShardId"]
        )
        iterator = reply.get("ShardIterator")
        if not isinstance(iterator, str) or not iterator:
            raise StreamUnavailable(f"GetShardIterator of shard {request['ShardId']} answered without an iterator.")
        return iterator


def _shards_of(described: Mapping[str, Any], arn: str) -> list[Shard]:
    """One page's shards. An unreadable one makes the listing worthless: a shard that is not listed counts as gone."""
    entries = described.get("Shards")
    if not isinstance(entries, list):
        raise StreamUnavailable(f"DescribeStream on {arn} answered without a list of shards. It is tried again.")
    return [_shard_of(entry, arn) for entry in entries]


def _shard_of(entry: Any, arn: str) -> Shard:
    shard_id = shard_id_of(entry)
    if shard_id is None:
        raise StreamUnavailable(f"DescribeStream on {arn} listed something that is no shard. It is tried again.")
    parent = entry.get("ParentShardId")
    return Shard(
        id=shard_id,
        parents=(parent,) if parent else (),
        is_open=is_open(entry),
        hash_range=NO_HASH_RANGE,
        created_at=shard_created_at(shard_id),
    )
