"""Catalogue, data loss: what user code raises, how long it takes and when it is stopped costs no record."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from consumer.hooks import GapFound, LeaseTaken
from consumer.processor import RecordProcessor
from consumer.record import Records
from consumer.worker import Outcome
from tests.catalogue.recorder import Batch, Recorder
from tests.catalogue.stage import LONG, Group, Stage, staged
from tests.simulation.fleet.policy import serial_of

MINUTE = 60.0


def stored(group: Group) -> dict[int, str]:
    """Sequence number to shard, of every checkpoint in the table."""
    rows = group.leases()
    return {int(rows[each].checkpoint.sequence_number): each for each in rows if rows[each].checkpoint.is_number}


# -- what it raises


@staged()
async def test_c01_a_record_that_always_raises_is_never_passed_by_a_checkpoint(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    serials = stage.put("k", 20)
    bad = serials[6]

    def work(batch: Batch) -> None:
        for serial in batch.serials:
            if serial == bad:
                raise ValueError("a customer's name")
            batch.done(serial)

    group = stage.group(**LONG)
    member = await group.start(work=work, batch_size=3)
    await stage.advance(hours=0.5)
    assert list(stored(group)) == [stage.written(serials[5]).sequence]
    assert group.times()[bad] > 20, "it is tried again and again"
    assert max(group.times()) == serials[8], "nothing behind its batch is given meanwhile"
    (shard_id,) = stage.open_shards()
    assert (member.held, len(member.told(LeaseTaken))) == ({shard_id}, 1), "the lease is kept"
    first, last = (stage.written(serials[place]).sequence for place in (6, 8))
    told = [each.getMessage() for each in caplog.records if "raised ValueError" in each.getMessage()]
    assert all(shard_id in each and f"records {first} to {last} raised" in each for each in told)
    assert len(told) > 20
    assert "a customer's name" not in caplog.text


def _decode(_: Batch) -> None:
    json.loads(b"\xff{")


def _raises(error: BaseException) -> Callable[[Batch], None]:
    def work(_: Batch) -> None:
        raise error

    return work


ERRORS = {
    "BaseException": _raises(BaseException()),
    "SystemExit": _raises(SystemExit(0)),
    "CancelledError": _raises(asyncio.CancelledError()),
    "KeyboardInterrupt": _raises(KeyboardInterrupt()),
    "GeneratorExit": _raises(GeneratorExit()),
    "a decoder's error": _decode,
}


class PlainRecorder(Recorder):
    """The same as ``def``, which runs in a thread of the pool."""

    def process_records(self, records: Records[Any], checkpointer: Any) -> None:  # type: ignore[override]
        batch = self.begin(records, checkpointer)
        assert self.work is not None
        self.work(batch)
        batch.done(*batch.serials)


@pytest.mark.parametrize("code", [Recorder, PlainRecorder])
@pytest.mark.parametrize("error", ERRORS)
@staged()
async def test_c02_no_kind_of_error_is_taken_for_done(stage: Stage, error: str, code: type[Recorder]) -> None:
    serials = stage.put("k", 20)
    is_broken = True

    def work(batch: Batch) -> None:
        if is_broken and serials[6] in batch.serials:
            ERRORS[error](batch)

    group = stage.group(**LONG)
    member = await group.start(processor=lambda group, name: code(group, name, work), batch_size=3)
    await stage.advance(3 * MINUTE)
    assert list(stored(group)) == [stage.written(serials[5]).sequence]
    assert group.times()[serials[6]] > 4
    is_broken = False
    await group.until_given(2 * MINUTE)
    assert await member.drain() is Outcome.CLEAN
    assert list(stored(group)) == [stage.written(serials[-1]).sequence]


# -- how long it takes


@pytest.mark.parametrize("budget", [1_500_000, 64 * 1024 * 1024])
@staged()
async def test_c03_a_handler_ten_times_slower_than_every_time_out_gets_every_record(stage: Stage, budget: int) -> None:
    """75 s is the longest time-out on the way of a page. Bytes read ahead keep to the budget, pages to four."""
    payload = "x" * 50_000
    serials = [serial for _ in range(100) for serial in stage.put("k", payload=payload)]
    reads: list[int] = []

    async def work(batch: Batch) -> None:
        before = stage.plan.calls["GetRecords"]
        if len(reads) < 3:
            await asyncio.sleep(750.0)
        reads.append(stage.plan.calls["GetRecords"] - before)

    group = stage.group(**LONG, prefetch_bytes=budget)
    member = await group.start(work=work)
    most = 0
    while stage.now < 3 * 750.0 + 60.0:
        await stage.advance(5.0)
        most = max(most, member.worker._budget.used_bytes)
    await group.until_given()
    assert [each.serial for each in group.given] == serials
    assert len(reads) == 6, "a page of DynamoDB Streams holds 20 such items"
    assert max(reads) <= min(4, 1 + budget // 1_000_000), "the fetch pauses while the handler works"
    assert 0 < most <= budget
    assert await member.drain() is Outcome.CLEAN
    assert list(stored(group)) == [stage.written(serials[-1]).sequence]


@pytest.mark.parametrize("play", range(4))
@staged(shards=3)
async def test_c13_no_checkpoint_passes_the_lowest_record_that_is_not_done(stage: Stage, play: int) -> None:
    """The judge compares every write of a checkpoint with what user code had finished by then."""
    dice = random.Random(play)

    async def work(batch: Batch) -> None:
        for serial in batch.serials:
            await asyncio.sleep(dice.choice((0.0, 0.0, dice.uniform(0.0, 3.0))))
            batch.done(serial)
            if dice.random() < 0.1:
                await batch.checkpointer.checkpoint(batch.records[batch.serials.index(serial)])

    manual = "manual" if play % 2 else "automatic"
    group = stage.group(failover_seconds=3.0, checkpointing=manual, checkpoint_interval_seconds=0.2, batch_size=7)
    for _ in range(3):
        await group.start(work=work)
    for _ in range(6):
        stage.put_each(keys=12, times=3)
        await stage.advance(dice.uniform(1.0, 6.0))
        dice.choice([each for each in group.members if each.is_up]).kill()
        await group.start(work=work)
    await group.until_given(5 * MINUTE)
    moved = [write for write in group.writes if write.verb == "set_checkpoint"]
    assert len(moved) > 10


# -- when it is stopped


@pytest.mark.parametrize("checkpointing", ["automatic", "manual"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("index", range(8))
@staged()
async def test_c14_a_checkpoint_at_shutdown_covers_no_half_batch(
    stage: Stage, index: int, fails: bool, checkpointing: str
) -> None:
    """Asked to leave while a batch is at ``index``; ``shutdown_requested`` checkpoints without an argument.

    Five records a batch: the page goes on behind the first one.
    """
    serials = stage.put("k", 8)
    reached = asyncio.Event()

    class Code(Recorder):
        async def shutdown_requested(self, checkpointer: Any) -> None:
            await checkpointer.checkpoint()

    async def work(batch: Batch) -> None:
        for serial in batch.serials:
            if serial == serials[index]:
                reached.set()
                await asyncio.sleep(5.0)
                if fails:
                    raise ValueError
            batch.done(serial)

    group = stage.group(checkpointing=checkpointing, batch_size=5)
    member = await group.start(processor=lambda group, name: Code(group, name, work))
    await reached.wait()
    assert await member.drain() is Outcome.CLEAN
    first = index // 5 * 5
    in_hand = serials[first : first + 5]
    through = serials[:first] if fails else serials[: first + 5]
    assert list(stored(group)) == [stage.written(serial).sequence for serial in through[-1:]]
    await group.start()
    await stage.advance(5.0)
    assert group.repeated() == (dict.fromkeys(in_hand, 2) if fails else {})
    assert len(group.times()) == 8


# -- one bad record


@staged(shards=4)
async def test_c19_the_neighbours_of_a_poison_record_do_not_leave_with_it(stage: Stage) -> None:
    """Dead letters are not built yet; what holds today: 99 effects are not lost, whatever the retries."""
    serials = stage.put_each(keys=20, times=5)
    poison = serials[37]
    is_mended = False

    def work(batch: Batch) -> None:
        if poison in batch.serials and not is_mended:
            raise ValueError

    group = stage.group(**LONG)
    member = await group.start(work=work)
    await stage.advance(10 * MINUTE)
    (blocked,) = {each.shard_id for each in group.given if each.serial == poison}
    behind = {serial for serial in serials if stage.written(serial).place[1] == blocked}
    assert {write.key for write in group.writes if write.verb == "set_checkpoint"} == set(stage.open_shards()) - {
        blocked
    }
    assert any("raising on the same batch" in problem for problem in member.worker.status().problems)
    is_mended = True
    await stage.advance(2 * MINUTE)
    assert {serial for serial, count in group.times().items() if count == 1} == set(serials) - behind
    assert await member.drain() is Outcome.CLEAN
    assert all(lease.checkpoint.is_number for lease in group.leases().values())


@staged(shards=4, retention_seconds=1800.0)
async def test_c20_a_poison_key_blocks_its_shard_only_and_what_expires_there_is_a_reported_gap(
    stage: Stage,
) -> None:
    """Parking a key is not built yet: its shard waits, loudly. Half an hour stands for the stream's 24 h."""
    is_mended = False

    def work(batch: Batch) -> None:
        if not is_mended and any(stage.written(serial).key == "k3" for serial in batch.serials):
            raise ValueError

    group = stage.group(**LONG)
    member = await group.start(work=work)
    for _ in range(20):
        stage.put_each(keys=16)
        await stage.advance(3 * MINUTE)
    (blocked,) = {each.shard_id for each in group.given if stage.written(each.serial).key == "k3"}
    late = [each for each in group.judge.missing(older_than=2 * MINUTE) if each.place[1] != blocked]
    assert not late, "the other shards flow"
    assert any(blocked in problem and "raising" in problem for problem in member.worker.status().problems)
    is_mended = True
    await group.until_given(3 * MINUTE)
    gaps = {each.shard_id for each in member.told(GapFound)}
    assert gaps == {blocked}


# -- one object for many shards


@staged(shards=50)
async def test_c22_one_handler_object_for_fifty_shards_checkpoints_each_in_its_own_row(stage: Stage) -> None:
    serials = stage.put_each(keys=300)
    group = stage.group(checkpointing="manual")

    class Shared(RecordProcessor):
        """Keeps no shard: what it needs comes with each call."""

        async def process_records(self, records: Records[Any], checkpointer: Any) -> None:
            for record in records:
                group.judge.delivering("w", records.shard_id, serial_of(record), record)
                await asyncio.sleep(0.01)
                group.judge.done(serial_of(record))
                await checkpointer.checkpoint(record)

    shared = Shared()
    member = await group.start(processor=lambda group, name: shared)
    await group.until_given()
    assert await member.drain() is Outcome.CLEAN
    last = {stage.written(serial).place[1]: stage.written(serial).sequence for serial in serials}
    assert len(last) > 45
    assert stored(group) == {sequence: shard_id for shard_id, sequence in last.items()}
