"""One worker from end to end: where it starts, what it is given, in which order, and what it stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consumer.config import InitialPosition
from consumer.errors import CheckpointBackwards, CheckpointBeyondDelivered
from consumer.hooks import BatchFailed, GapFound, RecordsSkipped, ShardEnded
from consumer.record import ViewType
from consumer.testing.faults import Fault, Mangling
from consumer.testing.mangling import IMPOSTORS
from consumer.testing.ministack import Ministack
from consumer.testing.stream_rules import Staleness, StreamOptions
from consumer.worker import Outcome
from tests.integration.ledger import (
    disorder,
    early_children,
    lost,
    records,
    repeats,
    repeats_within_tenures,
)
from tests.integration.worker_stage import AsyncRecorder, Orders, Recorder, Stage, set_stage

pytestmark = pytest.mark.integration


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, ministack: Ministack) -> AsyncIterator[Stage]:
    async with set_stage(monkeypatch, ministack) as made:
        yield made


def judge_once(stage: Stage, orders: Orders) -> None:
    """Everything exactly once, each key in order, children after parents."""
    notes, ledger = stage.ledger.notes, stage.ledger
    assert lost(notes, ledger.written) == []
    assert repeats(notes) == []
    assert repeats_within_tenures(notes) == []
    assert disorder(notes) == []
    assert early_children(notes, orders.parents()) == []


@pytest.mark.parametrize("refuses_timestamps", [False, True], ids=["", "service without AT_TIMESTAMP"])
@pytest.mark.parametrize(("position", "phases"), [("TRIM_HORIZON", 4), ("AT_TIMESTAMP", 2), ("LATEST", 1)])
async def test_a_group_starts_where_it_was_told(stage: Stage, position: Any, phases: int, refuses_timestamps: bool):
    stage.clock.ahead = -7200.0
    orders = stage.orders(shard_count=2)
    written: list[set[str]] = []

    def write(phase: str) -> None:
        written.append({f"{phase}-{number}" for number in range(12)})
        orders.put(*written[-1])

    write("before the rotation")
    stage.clock.ahead = -3600.0
    stage.streams.rotate("orders")
    write("after it")
    stage.clock.ahead = -1800.0
    instant = stage.clock.wall()
    stage.clock.ahead = -900.0
    stage.streams.split("orders")
    write("after the split")
    stage.clock.ahead = 0.0
    if refuses_timestamps:
        stage.streams.arm(Fault.refuse_at_timestamp())
    start = InitialPosition(position, instant if position == "AT_TIMESTAMP" else None)
    group = stage.group(orders.source, initial_position=start)
    await group.start("ada")
    open_shards = {each.id for each in stage.streams.call(stage.streams.server.log.stream("orders").open_shards)}
    await stage.ledger.until(
        lambda: open_shards <= {note.shard_id for note in stage.ledger.of("initialize")}, "every open shard begun"
    )
    write("after the start")
    expected = set().union(*written[-phases:])
    await stage.ledger.until(lambda: {key for key, _ in stage.ledger.delivered} >= expected, "all that is wanted")
    notes = stage.ledger.notes
    assert {note.key for note in records(notes)} == expected
    assert (repeats(notes), early_children(notes, orders.parents())) == ([], [])


@pytest.mark.parametrize("processor", [Recorder, AsyncRecorder])
async def test_rotations_and_splits_under_writes_cost_no_record_no_order_and_no_repeat(stage: Stage, processor: Any):
    orders = stage.orders(shard_count=2)
    # As the service does it: a child comes late to listings, and a shard's end does.
    stage.streams.call(
        setattr, stage.streams.server.faults, "staleness", Staleness(child_late_calls=1, end_late_calls=1)
    )
    member = await stage.group(orders.source).start("ada", processor)
    async with orders.written_to():
        for round_number in range(1, 4):
            stage.streams.rotate("orders")
            stage.clock.ahead += 0.1  # a shard lives for longer than the millisecond that its id tells
            left, right = stage.streams.split("orders")
            await stage.ledger.until(
                lambda both={left, right}: both <= {note.shard_id for note in stage.ledger.of("initialize")},
                f"both halves of split {round_number} begun",
            )
    await stage.ledger.until_all_delivered()
    closed = {above for each in orders.parents().values() for above in each}
    await stage.ledger.until(lambda: len(member.told(ShardEnded)) >= len(closed), "every end stored")
    assert {fact.shard_id for fact in member.told(ShardEnded)} == closed
    judge_once(stage, orders)


async def test_a_group_that_stopped_goes_on_after_its_checkpoints_without_a_repeat(stage: Stage):
    orders = stage.orders(shard_count=3)
    group = stage.group(orders.source)
    for name in ("ada", "bob"):
        orders.put(*(f"k{number}" for number in range(20)))
        member = await group.start(name)
        await stage.ledger.until_all_delivered()
        orders.put(*(f"k{number}" for number in range(20)))
        await stage.ledger.until_all_delivered()
        assert await member.stop() is Outcome.CLEAN
    judge_once(stage, orders)
    rows = await group.leases()
    assert {lease.owner for lease in rows.values()} == {None}
    last = {note.shard_id: note.number for note in records(stage.ledger.notes)}
    assert {key: int(lease.checkpoint.sequence_number) for key, lease in rows.items()} == last


async def test_latest_and_a_crash_before_the_first_checkpoint_lose_nothing(stage: Stage):
    stage.clock.ahead = -3600.0
    orders = stage.orders()
    orders.put("long ago")
    stage.clock.ahead = 0.0
    group = stage.group(orders.source, initial_position=InitialPosition("LATEST"), failover_seconds=1.0)
    in_hand, never = asyncio.Event(), asyncio.Event()

    class Hangs(Recorder):
        async def process_records(self, records: Any, checkpointer: Any) -> None:
            in_hand.set()
            await never.wait()

    dies = await group.start("ada", Hangs)
    await stage.ledger.until(lambda: stage.ledger.of("initialize"), "the shard begun")
    orders.put("in the hands of the dead one")
    await in_hand.wait()
    await dies.crash()
    (row,) = (await group.leases()).values()
    assert (row.checkpoint.sequence_number, row.owner) == ("LATEST", dies.worker.worker_id)
    orders.put("while nobody reads")
    await group.start("bob")
    await stage.ledger.until(lambda: stage.ledger.of("initialize", worker="bob"), "taken over")
    orders.put("after that")
    wanted = ["in the hands of the dead one", "while nobody reads", "after that"]
    await stage.ledger.until(lambda: len(stage.ledger.delivered) >= 3, "three records")
    assert [note.key for note in records(stage.ledger.notes)] == wanted


async def test_c94_a_table_name_alone_finds_a_stream_switched_on_again_once_the_old_one_is_drained(stage: Stage):
    may_go_on = asyncio.Event()

    class Slow(Recorder):
        async def process_records(self, records: Any, checkpointer: Any) -> None:
            super().process_records(records, checkpointer)
            await may_go_on.wait()

    orders = stage.orders(shard_count=2)
    orders.put(*(f"k{number}" for number in range(10)))
    group = stage.group(orders.source, audit_interval_seconds=1.0, child_wait_seconds=0.0, batch_size=1)
    member = await group.start("ada", Slow)
    await stage.ledger.until(lambda: len(stage.ledger.of("record")) == 2, "a record of each of the old shards")
    orders.put(*(f"k{number}" for number in range(10)))
    stage.streams.call(stage.streams.server.log.tables.disable, "orders")
    new = stage.streams.call(lambda: stage.streams.server.log.tables.enable("orders", shard_count=2).log.arn)
    orders.put(*(f"k{number}" for number in range(10)))
    await group.until_held(4)
    may_go_on.set()
    await stage.ledger.until_all_delivered()
    assert await member.stop() is Outcome.CLEAN
    assert (lost(stage.ledger.notes, stage.ledger.written), repeats(stage.ledger.notes)) == ([], [])
    # In order over both: no record of the new stream before the last one of the old stream.
    assert disorder(stage.ledger.notes) == []
    rows = await group.leases()
    ended = {key for key, lease in rows.items() if lease.stream == orders.arn}
    begun = {key for key, lease in rows.items() if lease.stream == new}
    assert all(rows[key].is_finished for key in ended)
    assert len(begun) == 2
    delivered = records(stage.ledger.notes)
    first_new = next(place for place, note in enumerate(delivered) if note.shard_id in begun)
    assert {note.shard_id for note in delivered[first_new:]} == begun
    assert [fact.from_position for fact in member.told(GapFound)] == [f"end of {orders.arn}"]


async def _fall_behind(stage: Stage, on_trimmed: str) -> tuple[Orders, Any]:
    """A group that was away for longer than the retention; a new worker of it, and one record that is still there."""
    orders = stage.orders(options=StreamOptions(retention_seconds=600.0))
    group = stage.group(orders.source, on_trimmed=on_trimmed, stuck_after_seconds=60.0)
    orders.put("read")
    member = await group.start("ada")
    await stage.ledger.until_all_delivered()
    assert await member.stop() is Outcome.CLEAN
    orders.put("trimmed")
    stage.clock.ahead += 601.0
    orders.put("still there")
    member = await group.start("bob")
    await stage.ledger.until(lambda: member.told(GapFound), "the gap reported")
    return orders, member


async def test_trimmed_records_are_reported_and_skipped(stage: Stage):
    _, member = await _fall_behind(stage, "skip")
    await stage.ledger.until(lambda: ("still there", 1) in stage.ledger.delivered, "what is still there")
    (gap,) = member.told(GapFound)
    assert (gap.to_position, gap.stopped) == ("TRIM_HORIZON", False)
    assert gap.from_position == str(records(stage.ledger.notes)[0].number)
    assert lost(stage.ledger.notes, stage.ledger.written) == [("trimmed", 1)]


async def test_trimmed_records_stop_a_shard_that_is_told_to_stop(stage: Stage):
    orders, member = await _fall_behind(stage, "stop")
    orders.put("not read either")
    await stage.ledger.until(lambda: any(s.stage == "stopped_at_gap" for s in member.worker.status().shards), "a stop")
    (gap,) = member.told(GapFound)
    assert gap.stopped
    assert len(member.held) == 1
    (problem,) = member.worker.status().problems
    assert gap.shard_id in problem
    assert "--on-trimmed skip" in problem
    assert stage.ledger.delivered == {("read", 1)}


@pytest.mark.parametrize("view_type", list(ViewType))
async def test_images_that_the_view_does_not_carry_are_none(stage: Stage, view_type: ViewType):
    seen: list[tuple[Any, ...]] = []

    class Looks(Recorder):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            seen.extend((records.view_type, each.event_name, each.old_image, each.new_image) for each in records)
            self.ledger.wake()

    orders = stage.orders(view_type=view_type)
    old, new = {"pk": "a", "n": 1}, {"pk": "a", "n": 2}
    for images in ({"new_image": old}, {"old_image": old, "new_image": new}, {"old_image": new}):
        stage.streams.put_item("orders", **images)
    await stage.group(orders.source).start("ada", Looks)
    await stage.ledger.until(lambda: len(seen) == 3, "three changes")
    has_old = view_type in (ViewType.OLD_IMAGE, ViewType.NEW_AND_OLD_IMAGES)
    has_new = view_type in (ViewType.NEW_IMAGE, ViewType.NEW_AND_OLD_IMAGES)
    assert seen == [
        (view_type, "INSERT", None, old if has_new else None),
        (view_type, "MODIFY", old if has_old else None, new if has_new else None),
        (view_type, "REMOVE", new if has_old else None, None),
    ]


async def test_malformed_replies_and_errors_are_survived_without_loss_repeat_or_disorder(stage: Stage):
    orders = stage.orders(shard_count=2)
    member = await stage.group(orders.source).start("ada")
    faults = [
        *(Fault.malformed(kind, "GetRecords") for kind in Mangling if kind not in ("missing", "null")),
        *(Fault.malformed(Mangling.MISSING, "GetRecords", path=path) for path in ("Records", "NextShardIterator")),
        *(Fault.malformed(Mangling.NULL, "GetRecords", path=path) for path in ("Records", "Records.*.dynamodb")),
        Fault.malformed(Mangling.MISSING, "GetShardIterator", path="ShardIterator"),
        Fault.malformed(Mangling.NULL, "DescribeStream", path="StreamDescription.Shards"),
        Fault.malformed(Mangling.NOT_JSON, "DescribeStream"),
        Fault.drop("GetRecords"),
        Fault.half_body("GetRecords"),
        Fault.error("ExpiredIteratorException", "GetRecords", times=2),
        Fault.error("ThrottlingException", "GetRecords"),
        Fault.error("InternalServerError", "GetRecords"),
    ]
    async with orders.written_to():
        stage.streams.arm(*faults)
        stage.streams.rotate("orders")
        await stage.ledger.until(lambda: stage.streams.server.faults.armed == (), "every fault acted", 60.0)
        stage.streams.split("orders")
    await stage.ledger.until_all_delivered()
    judge_once(stage, orders)
    assert member.told(GapFound) == []


async def test_entries_that_are_no_records_twice_running_are_counted_and_cost_no_record(stage: Stage):
    orders = stage.orders()
    orders.put("a", "b")
    stage.streams.arm(Fault.malformed(Mangling.NOT_RECORDS, "GetRecords", times=2))
    member = await stage.group(orders.source).start("ada")
    await stage.ledger.until_all_delivered()
    assert [fact.count for fact in member.told(RecordsSkipped)] == [len(IMPOSTORS[Mangling.NOT_RECORDS])]
    judge_once(stage, orders)


async def test_a_batch_that_raised_is_given_again_whole_and_nothing_is_skipped(stage: Stage):
    raised: list[int] = []

    class Stumbles(Recorder):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            if len(raised) < 3:
                raised.append(len(records))
                raise (ValueError("no"), SystemExit(2), KeyboardInterrupt())[len(raised) - 1]
            super().process_records(records, checkpointer)

    orders = stage.orders()
    orders.put("a", "b", "c")
    member = await stage.group(orders.source).start("ada", Stumbles)
    await stage.ledger.until_all_delivered()
    assert [(fact.callback, fact.error) for fact in member.told(BatchFailed)] == [
        ("process_records", "ValueError"),
        ("process_records", "SystemExit"),
        ("process_records", "KeyboardInterrupt"),
    ]
    assert raised == [3, 3, 3]
    judge_once(stage, orders)


class Ahead:
    """A record that stands one place after ``record``."""

    def __init__(self, record: Any) -> None:
        self.sequence_number = str(int(record.sequence_number) + 1)
        self.sub_sequence_number = 0


class ManualInThread(Recorder):
    """Checkpoints the record before the last one it is given, after trying what it must not."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        assert len(records) == 4
        checkpointer.checkpoint(records[2])
        with pytest.raises(CheckpointBackwards):
            checkpointer.checkpoint(records[1])
        with pytest.raises(CheckpointBeyondDelivered):
            checkpointer.checkpoint(Ahead(records[3]))
        super().process_records(records, checkpointer)


class ManualOnTheLoop(Recorder):
    """The same, awaited, and once forgotten to await."""

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        assert len(records) == 4
        checkpointer.checkpoint(records[0])
        await checkpointer.checkpoint(records[2])
        with pytest.raises(CheckpointBackwards):
            await checkpointer.checkpoint(records[1])
        with pytest.raises(CheckpointBeyondDelivered):
            await checkpointer.checkpoint(Ahead(records[3]))
        super().process_records(records, checkpointer)


@pytest.mark.parametrize("processor", [ManualInThread, ManualOnTheLoop])
async def test_with_manual_checkpoints_the_next_owner_goes_on_after_the_one_stored(stage: Stage, processor: Any):
    orders = stage.orders()
    orders.put("a", "b", "c", "d")
    group = stage.group(orders.source, checkpointing="manual")
    member = await group.start("ada", processor)
    await stage.ledger.until_all_delivered()
    # Stored when the call returned: nothing but the row need be looked at.
    (row,) = (await group.leases()).values()
    assert int(row.checkpoint.sequence_number) == records(stage.ledger.notes)[2].number
    assert await member.stop() is Outcome.CLEAN
    await group.start("bob")
    await stage.ledger.until(lambda: repeats(stage.ledger.notes) == [("d", 1)], "only the last one again")
    assert [note.key for note in records(stage.ledger.of("record", worker="bob"))] == ["d"]
