"""Whose rows they are, asked of the stream's service before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.errors import LeaseTableConflict, PositionRefused, ShardNotFound, StreamError
from consumer.shards.adoption import adopt
from consumer.streams.source import Opened, Position, Shard, ShardListing, StreamIdentity
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease
from tests.unit.shards.shard_fakes import DYNAMODB, KINESIS

NOW = 1_800_000_000.0


class Service:
    def __init__(self, *refusals: Exception | None, server_time: float | None = NOW) -> None:
        self.refusals = list(refusals)
        self.server_time = server_time
        self.asked: list[tuple[str, Position]] = []
        self.listings = 0
        self.late = 0

    async def list_shards(self, stream: StreamIdentity) -> ShardListing:
        self.listings += 1
        shards = (Shard("a"), Shard("b")) if self.listings > self.late else (Shard("a"),)
        return ShardListing(shards, self.server_time)

    async def iterator(self, stream: StreamIdentity, shard_id: str, position: Position) -> Opened:
        self.asked.append((shard_id, position))
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal
        return Opened("iterator")


def kcl(key: str, number: str = "7") -> Lease:
    return Lease(key=key, checkpoint=Checkpoint(number))


def join(service: Any, *leases: Lease, stream: StreamIdentity = KINESIS, now: float = NOW) -> float:
    async def main() -> float:
        return await adopt(leases, service, stream, table="t", clock=VirtualClock(wall_start=now))

    return run_virtual(main(), limit_seconds=60)


def test_a_table_without_a_kcls_rows_costs_no_listing() -> None:
    service = Service()
    assert join(service, Lease(key="a", stream="s", created_at="1-x")) == 0.0
    assert (service.listings, service.asked) == (0, [])


def test_kinesis_is_asked_whether_the_checkpoints_came_from_the_stream() -> None:
    service = Service()
    join(service, kcl("a"), kcl("b", "TRIM_HORIZON"))
    assert service.asked == [("a", Position("AT_SEQUENCE_NUMBER", sequence_number="7"))]
    with pytest.raises(LeaseTableConflict, match=r"'b' of table t.*did not come from this stream"):
        join(Service(None, PositionRefused("it did not come from this stream")), kcl("a"), kcl("b"))


def test_a_shard_that_is_gone_proves_nothing_and_what_fails_is_the_callers() -> None:
    join(Service(ShardNotFound("gone")), kcl("a"))
    with pytest.raises(StreamError):
        join(Service(StreamError("throttled")), kcl("a"))


def test_shards_of_dynamodb_are_told_by_their_ids() -> None:
    service = Service()
    join(service, kcl("a"), stream=DYNAMODB)
    assert service.asked == []
    with pytest.raises(LeaseTableConflict, match="another stream"):
        join(service, kcl("shard-of-another-table"), stream=DYNAMODB)


def test_a_clock_ahead_of_the_services_is_noticed_one_behind_does_no_harm() -> None:
    assert join(Service(), kcl("a"), now=NOW + 90) == 90.0
    assert join(Service(), kcl("a"), now=NOW - 90) == 0.0
    assert join(Service(server_time=None), kcl("a"), now=NOW + 90) == 0.0


def test_a_listing_that_is_late_once_refuses_nobody() -> None:
    service = Service()
    service.late = 1
    join(service, kcl("b"), stream=DYNAMODB)
    assert service.listings == 2
