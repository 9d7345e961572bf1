"""Catalogue, stuck shards: whatever the stream's services answer, or fail to answer, reading goes on and shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from consumer.config import InitialPosition
from consumer.delivery.outcome import Outcome
from consumer.delivery.threads import InlineThreads
from consumer.hooks import GapFound, LeaseTaken, PageRead, Stuck, Throttled
from consumer.testing.faults import Fault, FaultKind, Mangling
from tests.catalogue.recorder import Batch, Recorder
from tests.catalogue.stage import CALM, Stage, staged
from tests.simulation.network import Network

T = TypeVar("T")


@staged(gone_listed_seconds=3600.0)
async def test_c40_a_listed_shard_that_answers_not_found_ends_with_a_reported_gap_and_its_child_is_read(
    stage: Stage,
) -> None:
    (dead,) = stage.open_shards()
    stage.put("k", 5)
    await stage.advance(hours=1)
    stage.stream().lineage.rotate(dead)
    await stage.advance(hours=20)
    kept = stage.put("k", 5)
    await stage.advance(hours=4.5)
    group = stage.group()
    member = await group.start()
    assert dead in {shard.id for shard in stage.stream().listing()}
    await stage.until(lambda: set(kept) <= group.times().keys(), "the child's records", within_seconds=30.0)
    assert {gap.shard_id for gap in member.told(GapFound)} == {dead}
    assert group.lease(dead).is_finished


@staged(shards=1_000, latency_seconds=0.2)
async def test_c41_a_thousand_shards_at_200_ms_a_call_with_5_percent_errors_are_reached_one_after_the_other(
    stage: Stage,
) -> None:
    stage.put_each(500)
    stage.plan.arm(
        Fault.error("InternalServerError", times=None, probability=0.025),
        Fault.error("ThrottlingException", times=None, probability=0.025),
    )
    group = stage.group(idle_wait_seconds=20.0)
    starting = asyncio.ensure_future(group.start())
    await asyncio.sleep(0)
    progress = [0]
    while progress[-1] < 1_000 and stage.now < 60.0:
        await stage.advance(2)
        progress.append(len({fact.shard_id for fact in group.members[0].told(PageRead)}))
    member = await starting
    assert progress[-1] == 1_000, progress
    under_way = progress[next(i for i, count in enumerate(progress) if count) :]
    assert all(later > earlier for earlier, later in pairwise(under_way)), progress
    assert len({fact.shard_id for fact in member.told(LeaseTaken)}) == len(member.told(LeaseTaken)) == 1_000
    await group.until_given(within_seconds=10.0)


@pytest.mark.parametrize("source", ["dynamodb:pages", "kinesis:pages"])
@staged()
async def test_c43_after_20_minutes_on_a_page_reading_goes_on_after_the_last_record_delivered(
    stage: Stage, source: str
) -> None:
    stage.open(source)
    stage.put("k", 100, source=source)

    async def work(batch: Batch) -> None:
        if 30 in batch.serials:
            await asyncio.sleep(20 * 60.0)

    group = stage.group(source, batch_size=10)
    member = await group.start(work=work)
    await stage.until(lambda: len(group.given) >= 40, "the slow page")
    for _ in range(20):
        await stage.advance(60)
        stage.put("k", 200, source=source)
    await group.until_given()
    assert [each.serial for each in group.given] == list(range(100 + 20 * 200))
    assert not member.told(GapFound)


@staged(source="kinesis:orders", shards=2)
async def test_c51_two_shards_whose_handlers_take_6_minutes_both_go_on(stage: Stage) -> None:
    async def work(batch: Batch) -> None:
        await asyncio.sleep(6 * 60.0)

    group = stage.group(batch_size=1)
    for _ in range(2):
        await group.start(work=work)
    await group.until_held(1, 1)
    stage.put_each(4)
    for _ in range(4):
        await stage.advance(6 * 60.0)
        stage.put_each(4)
    for shard in stage.open_shards():
        calls = [each for each in group.given if each.shard_id == shard]
        assert len(calls) >= 4
        assert len({each.worker for each in calls}) == 1
        assert max(later.at - earlier.at for earlier, later in pairwise(calls)) < 6 * 60.0 + 2.0
    assert not group.repeated()


CODES = (
    "AccessDeniedException",
    "ExpiredIteratorException",
    "ExpiredTokenException",
    "InternalFailure",
    "InternalServerError",
    "InvalidSignatureException",
    "KMSThrottlingException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottlingException",
    "TrimmedDataAccessException",
    "UnrecognizedClientException",
    "ValidationException",
    "SomethingNobodyHasHeardOf",
)
OPERATIONS = {
    "dynamodb": ("DescribeTable", "DescribeStream", "GetShardIterator", "GetRecords"),
    "kinesis": ("DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"),
}


@pytest.mark.parametrize("service", ["dynamodb", "kinesis"])
@staged()
async def test_c44_each_error_once_on_each_call_of_the_stream_ends_nothing(stage: Stage, service: str) -> None:
    source = f"{service}:codes"
    stage.open(source)
    group = stage.group(source)
    member = await group.start()
    stage.put("k", source=source)
    await group.until_given()  # a refusal of access before that is for whoever starts the worker
    for code in CODES:
        stage.plan.arm(*(Fault.error(code, operation) for operation in OPERATIONS[service]))
        stage.put("k", 3, source=source)
        stage.stream(source).lineage.rotate()
        stage.put("k", 3, source=source)
        await stage.until(lambda: not stage.plan.armed, f"{code} met everywhere", within_seconds=200.0)
        await group.until_given(within_seconds=120.0)
    assert member.is_up
    assert not group.repeated()
    await stage.advance(5)
    assert member.worker.status().healthy


@pytest.mark.parametrize(
    "fault",
    [
        Fault.error("InternalServerError", "GetRecords", times=None),
        Fault.error("AccessDeniedException", "GetRecords", times=None),
        Fault.error("ThrottlingException", "GetShardIterator", times=None),
        Fault.drop("GetRecords", times=None),
        Fault.delay(3600.0, "GetRecords", times=None),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code if fault.kind is FaultKind.ERROR else fault.operation}",
)
@staged(shards=2)
async def test_c44_a_shard_that_is_not_read_fails_health_by_name_within_seconds_of_the_limit(
    stage: Stage, fault: Fault
) -> None:
    group = stage.group()
    member = await group.start()
    stage.put_each(8)
    await group.until_given()
    assert member.worker.status().healthy
    stage.plan.arm(fault, Fault.error("ExpiredIteratorException", "GetRecords", times=2))
    stage.put_each(8)
    await stage.advance(60 + 20)
    status = member.worker.status()
    assert len(status.problems) == 2
    for shard in stage.open_shards():
        assert [problem for problem in status.problems if shard in problem]
        assert [fact.stage for fact in member.told(Stuck) if fact.shard_id == shard] == ["reading"]
    stage.plan.clear()
    await group.until_given(within_seconds=90.0)
    await stage.advance(1)
    assert member.worker.status().healthy
    assert not group.repeated()


ROUGH = Network(
    0.001, 0.02, 0.05, 3.0, lost_request=0.1, lost_reply=0.1, refused=0.1, doubled=0.1, stale_seconds=1.0
)  # fmt: skip


@staged(shards=3)
async def test_c49_connections_that_drop_at_random_cost_nothing_but_time(stage: Stage) -> None:
    group = stage.group()
    for _ in range(2):
        await group.start()
    group.network = ROUGH
    stage.plan.arm(
        Fault.drop(times=None, probability=0.1),
        Fault.drop(times=None, probability=0.1, applied=False),
        Fault.half_body(times=None, probability=0.1),
        Fault.delay(25.0, times=None, probability=0.02),
        Fault.malformed(Mangling.NOT_JSON, times=None, probability=0.05),
    )
    for _ in range(20):
        stage.put_each(6, 3)
        await stage.advance(10)
        stage.stream().lineage.rotate(stage.open_shards()[0])
    assert min(stage.plan.fired.values()) > 5
    stage.plan.clear()
    group.network = CALM
    await group.until_given(within_seconds=60.0)


class Rejecting(InlineThreads):
    """No thread can be had for a while."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    async def run(self, call: Callable[[], T]) -> Outcome[T]:
        if self.left:
            self.left -= 1
            raise RuntimeError("can't start new thread")
        return await super().run(call)


class Plain(Recorder):
    """The same in a thread."""

    def process_records(self, records: Any, checkpointer: Any) -> Any:
        batch = self.begin(records, checkpointer)
        batch.done(*batch.serials)


@staged()
async def test_c49_a_pool_that_takes_no_work_for_a_while_delays_the_batch_and_ends_nothing(stage: Stage) -> None:
    group = stage.group()
    starting = asyncio.ensure_future(group.start(processor=lambda group, name: Plain(group, name, None)))
    await asyncio.sleep(0)
    pool = Rejecting(5)
    group.members[0].worker._threads = pool
    stage.put("k", 5)
    member = await starting
    await group.until_given()
    pool.left = 3
    stage.put("k", 5)
    await group.until_given()
    assert member.is_up
    assert not group.repeated()


@staged(source="kinesis:orders")
async def test_c53_a_sparse_shard_is_caught_up_with_at_the_rate_the_service_allows(stage: Stage) -> None:
    """Kinesis allows five reads a second of one shard: three times a hundred pages without a record take 60 s."""
    serials = stage.put("k", 3_500)
    thin = Fault.malformed(Mangling.EMPTY_PAGE, "GetRecords", times=100)
    stage.plan.arm(*(replace(thin, skip=page) for page in range(3)))
    await stage.advance(hours=20)
    began = stage.now
    group = stage.group()
    member = await group.start()
    await stage.advance(10.0)
    (shard,) = member.worker.status().shards
    assert (shard.lag_seconds or 0.0) == pytest.approx(stage.now, abs=5.0), "what was not read yet counts"
    await stage.until(lambda: len(group.given) >= 3_000, "three full pages", within_seconds=63.0)
    assert stage.now - began > 59.0
    await group.until_given()
    assert [each.serial for each in group.given] == serials
    assert not member.told(Throttled)


@staged(shards=50, latency_seconds=2.0)
async def test_c54_a_listing_that_takes_longer_than_its_period_overlaps_with_no_other_and_starves_nobody(
    stage: Stage,
) -> None:
    """Looked at every second: 4 s for the stream, then three pages of shards, nearly all closed, in 6 s."""
    for _ in range(5):
        await stage.advance(60)
        stage.stream().lineage.rotate()
    await stage.advance(60)
    group = stage.group(
        initial_position=InitialPosition("LATEST"),
        audit_interval_seconds=1.0,
        idle_wait_seconds=20.0,
        failover_seconds=60.0,
    )
    member = await group.start()
    await group.until_held(50)
    since = stage.clock.monotonic()
    await stage.advance(60)
    times = [at for at in stage.plan.times("DescribeStream") if at >= since]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 2.0 - 1e-6
    assert len(times) > 4 * 4
    (parent,) = stage.open_shards()[:1]
    stage.stream().lineage.rotate(parent)
    await stage.until(lambda: group.lease(parent).is_finished, "the end of a shard", within_seconds=40.0)
    await stage.advance(5)
    assert len(member.held) == 50
    assert len(member.told(LeaseTaken)) == 51  # the child; no lease was lost and taken anew
    assert not member.told(Stuck)


@staged()
async def test_c56_a_stream_switched_off_and_on_again_is_read_on_under_its_new_name(stage: Stage) -> None:
    group = stage.group()
    member = await group.start()
    before = stage.put("k", 10)
    stage.log.tables.disable("orders")
    await stage.advance(120)
    assert member.is_up
    stage.open("dynamodb:orders", 2)
    after = stage.put_each(8)
    await group.until_given(within_seconds=90.0)
    assert group.times().keys() == {*before, *after}
    assert [gap.shard_id for gap in member.told(GapFound)] == [""]
    assert len({each.stream for each in group.leases().values()}) == 2


@staged(shards=4)
async def test_c56_a_record_refused_for_ever_stops_its_own_shard_alone_and_is_told(stage: Stage) -> None:
    serials = stage.put_each(40, 5)
    poison = serials[7]

    def work(batch: Batch) -> None:
        if poison in batch.serials:
            raise ValueError

    group = stage.group(batch_size=5)
    member = await group.start(work=work)
    stuck = stage.written(poison).place[1]
    others = {serial for serial in serials if stage.written(serial).place[1] != stuck}
    assert len(others) > 50
    await stage.until(lambda: others <= group.times().keys(), "the other shards' records", within_seconds=10.0)
    await stage.advance(70)
    (problem,) = member.worker.status().problems
    assert stuck in problem
