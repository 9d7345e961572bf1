"""Catalogue, cost: what a fleet asks of the services is counted, hour by hour, and stays within its budget."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect

import pytest

from consumer.config import InitialPosition
from consumer.hooks import Throttled
from consumer.operate.prometheus import PrometheusHook
from consumer.worker import Outcome
from lease_store.store import Refused, WriteResult
from lease_store.verbs import Write
from tests.catalogue.stage import Stage, staged
from tests.simulation.store import SimTable

HOUR = 3600.0
SERVICE_LIMIT = 10  # calls of DescribeStream a second, for the whole account
LATEST = InitialPosition("LATEST")
# A read an idle second, a heartbeat of the lease every 5.25 s and one of the worker every F/3, a look at the table a
# second, and every 30 s one worker's look at the stream: two calls of DescribeStream, one of DescribeTable.
STREAM_CALLS_AN_HOUR = {"GetRecords": 3_900, "DescribeStream": 260, "DescribeTable": 130, "GetShardIterator": 0}
TABLE_CALLS_AN_HOUR = {"scan": 3_900, "renew": 690, "beat": 1_150}


@staged()
async def test_c69_an_hour_of_one_worker_and_one_shard_stays_within_its_budget_of_calls(stage: Stage) -> None:
    group = stage.group()
    member = await group.start()
    stage.put("k", 10)
    await group.until_given()
    await stage.advance(60)
    streamed, stored = stage.plan.calls.copy(), dict(member.store.calls)
    await stage.advance(HOUR)
    stream = stage.plan.calls - streamed
    table = {what: count for what in member.store.calls if (count := member.store.calls[what] - stored.get(what, 0))}
    assert stream.keys() <= STREAM_CALLS_AN_HOUR.keys()
    assert [what for what, count in stream.items() if count > STREAM_CALLS_AN_HOUR[what]] == [], stream
    assert table.keys() == TABLE_CALLS_AN_HOUR.keys()
    assert [what for what, count in table.items() if count > TABLE_CALLS_AN_HOUR[what]] == [], table


@staged(shards=2)
async def test_c70_an_idle_hour_brings_no_warning_and_no_sync_that_nothing_called_for(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """One worker of the two looks at the shards every 30 s, and finds nothing to do."""
    group = stage.group(idle_wait_seconds=10.0)
    for _ in range(2):
        await group.start()
    await group.until_held(1, 1)
    await stage.advance(60)
    written = len(group.writes)
    stage.plan.calls.clear()
    with caplog.at_level(logging.INFO):
        await stage.advance(HOUR)
    assert [each.getMessage() for each in caplog.records] == []
    assert {each.write.verb for each in group.writes[written:]} == {"renew"}
    assert stage.plan.calls["DescribeStream"] <= 2 * 125


@staged(shards=50)
async def test_c71_twenty_workers_on_a_stream_of_1000_shards_make_at_most_2_describe_stream_calls_a_second(
    stage: Stage,
) -> None:
    """50 open shards and 950 that closed, ten pages of a listing. A wave of 50 ends, then a deploy of every worker."""
    for _ in range(19):
        await stage.advance(60)
        stage.stream().lineage.rotate()
    await stage.advance(60)
    assert len(stage.stream().listing()) == 1_000
    group = stage.group(initial_position=LATEST, idle_wait_seconds=10.0, scan_read_units_per_second=400.0)
    old = await asyncio.gather(*(group.start() for _ in range(20)))
    # All at once on an empty table: each has to look, once. No further burst than their first calls.
    assert stage.plan.calls["DescribeStream"] <= 20 * 11
    assert stage.plan.busiest(["DescribeStream"], 10.0) <= 20 + 10 * SERVICE_LIMIT
    await stage.advance(40)
    wave = stage.clock.monotonic()
    stage.put_each(200)
    stage.stream().lineage.rotate()
    await group.until_given(within_seconds=50.0)
    await stage.advance(max(0.0, wave + 60.0 - stage.clock.monotonic()))
    deploy = stage.clock.monotonic()
    for each in old[:10]:
        await group.start()
        assert await each.drain() is Outcome.CLEAN
    calls = [at for at in stage.plan.times("DescribeStream") if at >= wave]
    assert sum(at < deploy for at in calls) <= 2.0 * (deploy - wave)
    seconds = stage.clock.monotonic() - deploy
    assert sum(at >= deploy for at in calls) <= min(2.0 * seconds, 10 + 12 * (1 + seconds // 27)), "none lists to start"
    assert max(bisect(calls, at + 5.0) - index for index, at in enumerate(calls)) <= 5 * SERVICE_LIMIT
    assert not [fact for member in group.members for fact in member.told(Throttled)]


class _Counted:
    """Counts what the table refuses."""

    def __init__(self, table: SimTable) -> None:
        self.refused: list[str] = []
        self._write_as = table.write_as
        table.write_as = self.write_as  # type: ignore[method-assign]

    def write_as(self, worker: str, write: Write) -> WriteResult:
        result = self._write_as(worker, write)
        if isinstance(result, Refused):
            self.refused.append(write.verb)
        return result


@staged(shards=3)
async def test_c73_in_an_hour_of_a_busy_fleet_at_rest_no_conditional_write_is_refused(stage: Stage) -> None:
    group = stage.group(idle_wait_seconds=20.0)
    for _ in range(3):
        await group.start()
    await group.until_held(1, 1, 1)
    await stage.advance(60)
    counted, written = _Counted(group.judge.table), len(group.writes)
    for _ in range(60):
        stage.put_each(12)
        await stage.advance(60)
    assert counted.refused == []
    verbs = [each.write.verb for each in group.writes[written:]]
    assert verbs.count("set_checkpoint") == 3 * 60
    assert set(verbs) == {"renew", "set_checkpoint"}


@staged()
async def test_c76_the_number_of_metric_series_is_the_same_after_1_and_after_100_rotations(stage: Stage) -> None:
    group = stage.group(audit_interval_seconds=300.0)
    member = await group.start()
    hook, told = PrometheusHook(clock=stage.clock), 0
    series = []
    for rotation in range(100):
        stage.put("k", 3)
        stage.stream().lineage.rotate()
        await group.until_given()
        await stage.advance(5)
        for fact in member.facts[told:]:
            hook(fact)
        told = len(member.facts)
        if rotation > 0:
            series.append(sum(len(family.samples) for family in hook.registry.collect()))
    assert len(group.leases()) > 90
    assert len(set(series)) == 1


@staged(source="kinesis:idle", shards=2, reads_per_second=5)
async def test_c77_two_groups_on_an_idle_stream_use_less_than_half_of_what_the_service_allows(stage: Stage) -> None:
    """Kinesis allows five reads a second of one shard, to all its readers together."""
    groups = [stage.group(), stage.group()]
    for group in groups:
        await group.start()
        await group.until_held(2)
    await stage.advance(30)
    since = stage.clock.monotonic()
    await stage.advance(600)
    reads = [at for at in stage.plan.times("GetRecords") if at >= since]
    assert len(reads) / 600 / 2 < 2.5
    assert stage.plan.busiest(["GetRecords"], 10.0) / 10 / 2 < 2.5
    assert not [fact for group in groups for fact in group.members[0].told(Throttled)]
