"""Lineage: from a parent's end to its child's first record in user code, one after the other and all at once."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.timings.figures import Event, repeats, spread, verdict
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, Stage, Table, WorkerProcess, progress

GOAL_SECONDS = 0.5
# DescribeStream: DynamoDB's limit for account and stream together.
_CALLS_AND_COMPLETENESS = {"describes_in_busiest_second": 10, "not_read": 0, "undelivered": 0}
_SHARDS = 40
_RECORDS_PER_SHARD_PER_SECOND = 5.0
_SECONDS = 15.0
_SETTLE_SECONDS = 90.0
_WAVE_SECONDS = 120.0
# 1,000 shards at the defaults ask more of two shared cores, servers included, than there is: 1,000 reads and 300
# renewals a second.
_WAVE_FLAGS = ("--failover-seconds", "30", "--idle-wait-seconds", "3")


async def measure(options: Options) -> dict[str, Any]:
    """Ends at 2, 5 and 10 a second over 40 shards, two workers reading."""
    return {f"ends_per_second_{rate}": await _at(rate) for rate in (2, 5, 10)}


async def measure_wave(options: Options) -> dict[str, Any]:
    """Every shard of a large stream ends at once, two workers reading; the goal is one of DescribeStream calls."""
    async with Stage.set() as stage:
        table = await stage.table("wave", options.wave_ends)
        workers = await _reading(stage, table, options.wave_ends, *_WAVE_FLAGS)
        before = await table.do("facts")
        began = CLOCK.monotonic()
        await table.do("rotate_all")
        facts = await _until_read(table, workers, options.wave_ends, _WAVE_SECONDS)
        figures = _figures(facts, workers, before["calls"], facts["at"] - began)
        progress(f"  {figures}")
        return verdict({**figures, "worker_flags": " ".join(_WAVE_FLAGS)}, _CALLS_AND_COMPLETENESS)


async def _at(ends_per_second: float) -> dict[str, Any]:
    async with Stage.set() as stage:
        table = await stage.table("lineage", _SHARDS)
        workers = await _reading(stage, table, _SHARDS)
        await table.do("steady", per_shard_per_second=_RECORDS_PER_SHARD_PER_SECOND)
        await CLOCK.sleep(2.0)
        before = await table.do("facts")
        began = CLOCK.monotonic()
        ends = int(ends_per_second * _SECONDS)
        await table.do("rotate_steadily", ends_per_second=ends_per_second, ends=ends)
        seconds = CLOCK.monotonic() - began
        await table.do("steady", per_shard_per_second=0)
        facts = await _until_read(table, workers, ends, _SETTLE_SECONDS)
        figures = _figures(facts, workers, before["calls"], seconds)
        progress(f"  {ends_per_second} ends a second: {figures}")
        return verdict(figures, {"worst_seconds": GOAL_SECONDS, **_CALLS_AND_COMPLETENESS})


async def _reading(stage: Stage, table: Table, shards: int, *flags: str) -> list[WorkerProcess]:
    """Two workers that hold half of the shards each and have read from every one."""
    workers = [await stage.worker(table, name, *flags) for name in ("ada", "bob")]
    await table.until_balanced(workers, shards, 60.0 + shards / 10)
    await table.do("put_on_each")
    deadline = CLOCK.monotonic() + 60.0
    while len(_read(workers)) < shards:
        if CLOCK.monotonic() > deadline:
            raise TimeoutError(f"Of {shards} shards {len(_read(workers))} were read within 60 s.")
        await CLOCK.sleep(0.5)
    return workers


def _read(workers: list[WorkerProcess]) -> set[str]:
    return {event.shard_id for worker in workers for event in worker.events("record")}


async def _until_read(table: Table, workers: list[WorkerProcess], ends: int, within_seconds: float) -> dict[str, Any]:
    """The server's facts once every child was read from and nothing is left, or after ``within_seconds``."""
    deadline = CLOCK.monotonic() + within_seconds
    while True:
        facts: dict[str, Any] = await table.do("facts")
        given = [event for worker in workers for event in worker.events("record")]
        ended = {child for _, child, _ in facts["ends"]} <= {event.shard_id for event in given}
        if (len(facts["ends"]) >= ends and ended and not _undelivered(facts, given)) or CLOCK.monotonic() > deadline:
            return facts
        await CLOCK.sleep(0.5)


def _undelivered(facts: dict[str, Any], given: list[Event]) -> int:
    return len({number for number, _, _ in facts["written"]} - {event.number for event in given})


def _figures(
    facts: dict[str, Any], workers: list[WorkerProcess], calls_before: dict[str, int], seconds: float
) -> dict[str, Any]:
    firsts: dict[str, float] = {}
    began: dict[str, float] = {}
    for event in sorted((event for worker in workers for event in worker.events()), key=lambda each: each.at):
        if event.kind == "record":
            firsts.setdefault(event.shard_id, event.at)
        if event.kind in ("initialize", "shard_ended"):
            began.setdefault(f"{event.kind} {event.shard_id}", event.at)
    read = [(parent, child, at) for parent, child, at in facts["ends"] if child in firsts]
    given = [event for worker in workers for event in worker.events("record")]
    describes = facts["calls"]["DescribeStream"] - calls_before["DescribeStream"]
    return {
        **spread([firsts[child] - at for _, child, at in read]),
        "not_read": len(facts["ends"]) - len(read),
        "end_to_shard_ended": spread([began[f"shard_ended {parent}"] - at for parent, _, at in read]),
        "shard_ended_to_child_initialized": spread(
            [began[f"initialize {child}"] - began[f"shard_ended {parent}"] for parent, child, _ in read]
        ),
        "child_initialized_to_first_record": spread(
            [firsts[child] - began[f"initialize {child}"] for _, child, _ in read]
        ),
        "describe_stream_calls": describes,
        "describe_stream_calls_per_second": round(describes / seconds, 2),
        "describes_in_busiest_second": facts["describes_in_busiest_second"],
        "repeats": repeats(given),
        "undelivered": _undelivered(facts, given),
    }
