"""A hand-off and a drain, disturbed at each of their writes in turn: deaths, refusals, lost replies, late doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from consumer.hooks import TenureEnded
from consumer.leasing.lease_loop import LeaseLoop
from consumer.worker import Outcome
from lease_store.lease import Lease
from tests.catalogue.recorder import Batch
from tests.catalogue.stage import Stage as CatalogueStage
from tests.catalogue.stage import staged
from tests.simulation.directed.stage import Fate, Stage, directed
from tests.simulation.leases.draw import Work
from tests.simulation.leases.process import SimWorker
from tests.simulation.leases.shards import STREAM

F = 5.0
BUSY = Work(0.3, 0.0, 0.0, 0.3, 0.5, 0.0)
TAKEOVER = 1.01 * F + 2.0
HEARTBEAT = F / 3
A_BATCH = 0.5
MOVED_WITHIN = 4.0  # shorter than the failover time: a tenure given up, for others to find, is no hand-over
MOST_WRITES = 40

Scene = Callable[[Stage], Coroutine[Any, Any, tuple[SimWorker, SimWorker]]]


async def joined(stage: Stage) -> tuple[SimWorker, SimWorker]:
    """The owner has two leases when a second worker comes and asks for one."""
    owner = stage.start()
    await stage.until(lambda: all(map(stage.holder, stage.keys)), 3.0)
    return owner, stage.start()


async def leaving(stage: Stage) -> tuple[SimWorker, SimWorker]:
    """The owner of a lease drains; of two idle peers the first is to get it."""
    owner, receiver = await stage.owner_and_peer()
    stage.start()
    await asyncio.sleep(4.0)
    owner.drain()
    return owner, receiver


SCENES = [pytest.param(joined, 2, id="hand-off"), pytest.param(leaving, 1, id="drain")]


def at_each_write(
    scene: Scene, keys: int, disturb: Callable[[Stage, SimWorker, SimWorker, int], Any], then: Any
) -> int:
    """Play ``scene`` once for each write of lease ``00`` until it has moved, disturbed there; how many those are."""
    for nth in count(1):
        struck = False

        @directed(every_rule_strikes=False, failover=F, keys=keys, work=BUSY)
        async def play(stage: Stage, nth: int = nth) -> None:
            nonlocal struck
            owner, receiver = await scene(stage)
            rule = disturb(stage, owner, receiver, nth)
            await stage.passes(lambda: rule.struck or stage.holder() not in (None, owner.name), F)
            struck = bool(rule.struck)
            await then(stage, owner, receiver)

        play()
        if not struck or nth >= MOST_WRITES:
            return nth - 1
    raise AssertionError("unreachable")


@pytest.mark.parametrize("arrives", [True, False], ids=["after the write", "before the write"])
@pytest.mark.parametrize("victim", ["owner", "receiver"])
@pytest.mark.parametrize(("scene", "keys"), SCENES)
def test_c34_a_death_at_any_write_of_a_hand_off_frees_the_lease_within_the_failover_time(
    scene: Scene, keys: int, victim: str, arrives: bool
) -> None:
    def disturb(stage: Stage, owner: SimWorker, receiver: SimWorker, nth: int) -> Any:
        def die() -> None:
            stage.crash(owner if victim == "owner" else receiver)

        return stage.calls(None, Fate(lost=not arrives, arrived=die), key="00", nth=nth)

    async def then(stage: Stage, owner: SimWorker, receiver: SimWorker) -> None:
        # An owner that lives goes on meanwhile, and may still hand over to a receiver of whose death nobody knows yet.
        lives_on = HEARTBEAT + A_BATCH if victim == "receiver" else 0.0
        await stage.until(lambda: stage.judge.unrest(stage.workers) is None, lives_on + TAKEOVER)

    assert at_each_write(scene, keys, disturb, then) >= 4


FATES = [
    pytest.param(Fate(refused=True), id="refused"),
    pytest.param(Fate(lost=True), id="lost"),
    pytest.param(Fate(unheard=True), id="reply lost"),
    pytest.param(Fate(there=1.2), id="late"),
    pytest.param(Fate(back=1.2), id="late reply"),
    pytest.param(Fate(there=1.3, unheard=True), id="later than its time-out"),
    pytest.param(Fate(again=0.3), id="doubled"),
    pytest.param(Fate(again=3.0), id="doubled late"),
    pytest.param(Fate(unheard=True, again=2.0), id="reply lost, doubled late"),
]


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize(("scene", "keys"), SCENES)
def test_a_write_of_a_hand_off_that_goes_wrong_costs_neither_peace_nor_the_move(
    scene: Scene, keys: int, fate: Fate
) -> None:
    def disturb(stage: Stage, owner: SimWorker, receiver: SimWorker, nth: int) -> Any:
        return stage.calls(None, replace(fate), key="00", nth=nth)

    async def then(stage: Stage, owner: SimWorker, receiver: SimWorker) -> None:
        await stage.until(lambda: stage.judge.unrest(stage.workers) is None, MOVED_WITHIN)
        if scene is leaving:
            await stage.until(lambda: owner.state == "gone", F)
        await asyncio.sleep(4.0)  # for what is still on its way
        assert stage.judge.unrest(stage.workers) is None

    assert at_each_write(scene, keys, disturb, then) >= 4


@directed(faults="none", keys=3, max_leases=2, work=Work(3.0, 0.0, 0.0, 0.3, 0.0, 0.0))
async def test_a_receiver_that_filled_up_since_the_last_look_at_it_lets_the_lease_go_until_there_is_room(
    stage: Stage,
) -> None:
    """The one hand-off on a calm fleet that the judge allows to be silent: nobody has room, and its giver left."""
    owner = stage.start()
    await stage.until(lambda: len(owner.loop.leases.held) == 2, 3.0)
    receiver = stage.start()
    await stage.until(lambda: len(receiver.loop.leases.held) == 1, 3.0)
    await asyncio.sleep(5.0)
    await receiver.loop.create(Lease(key="03", stream=STREAM), owner=receiver.name)
    owner.drain()
    await stage.until(lambda: owner.state == "gone", 8.0)
    assert any(f"{owner.name} finish_hand_off 00 -> {receiver.name}" in step for step in stage.judge.last_steps)
    await stage.until(lambda: stage.row().owner is None, 1.0)
    await asyncio.sleep(2.0)
    receiver.settings = replace(receiver.settings, max_leases=4)
    receiver.loop.leases.max_leases = 4
    await stage.until(lambda: stage.judge.unrest(stage.workers) is None, 3.0)


def scan_rarely(loop: LeaseLoop) -> None:
    """As in a large fleet, or over a table full of finished rows: a scan every 10 s or so for each worker of it."""
    loop._watch._read_units_per_second = 0.1


def scans_rarely(worker: SimWorker) -> SimWorker:
    scan_rarely(worker.loop)
    return worker


@directed(keys=4, work=BUSY)
async def test_a_drain_is_short_however_rarely_the_fleet_scans(stage: Stage) -> None:
    """Chaos, dynamodb seed 4: workers without a lease took 20 s to leave, and in a larger fleet would not before their
    deadline.
    """
    owner, idle, _ = [scans_rarely(stage.start()) for _ in range(3)]
    await asyncio.sleep(60.0)
    assert sorted(len(each.loop.leases.held) for each in stage.workers) == [1, 1, 2]
    owner.drain()
    await stage.until(lambda: owner.state == "gone", 14.0)
    await stage.until(lambda: stage.judge.unrest(stage.workers) is None, 20.0)
    idle.drain()
    await stage.until(lambda: idle.state == "gone", 14.0)


@directed(keys=6, work=BUSY)
async def test_nobody_is_named_who_has_marked_that_it_leaves(stage: Stage) -> None:
    """Two leave at once, and neither will see the other's mark by a scan for a long time."""
    first, second, third = [scans_rarely(stage.start()) for _ in range(3)]
    await asyncio.sleep(60.0)
    first.drain()
    await asyncio.sleep(0.1)
    second.drain()
    await stage.until(lambda: first.state == second.state == "gone", 20.0)
    starts = [step.split() for step in stage.judge.last_steps if f"{second.name} start_hand_off" in step]
    named = {step[5] for step in starts if float(step[0]) > 60.1}
    assert named == {third.name}


@pytest.mark.parametrize("workers", [2, 5])
def test_a_fleet_that_drains_together_is_gone_by_the_look_that_shows_it(workers: int) -> None:
    """Nobody is left to name anybody: the two scan periods that a worker waits for that are waited for nothing."""

    @directed(keys=6, work=BUSY)
    async def play(stage: Stage) -> None:
        leaving = [stage.start() for _ in range(workers)]
        await asyncio.sleep(60.0)
        for each in leaving:
            each.drain()
        await stage.until(lambda: all(each.state == "gone" for each in leaving), 1.6)
        assert {row.owner for row in map(stage.row, stage.keys)} == {None}

    play()


@directed(keys=6, work=BUSY)
async def test_beside_one_that_stays_who_drains_waits_until_nobody_can_name_it(stage: Stage) -> None:
    leaving, other, _ = [stage.start() for _ in range(3)]
    await asyncio.sleep(60.0)
    leaving.drain()
    other.drain()
    await asyncio.sleep(1.6)
    assert (leaving.state, other.state) == ("draining", "draining")
    await stage.until(lambda: leaving.state == other.state == "gone", 3.0)


@pytest.mark.parametrize("busy", range(4))
def test_one_long_batch_does_not_keep_the_fleet_uneven(busy: int) -> None:
    """The receiver soon asks for another lease, and the owner keeps the busy one; it was for its time-out to end it."""

    @staged(source="kinesis:clicks", shards=4)
    async def play(stage: CatalogueStage) -> None:
        group = stage.group()
        long_one = stage.open_shards()[busy]

        async def work(batch: Batch) -> None:
            if batch.shard_id == long_one:
                await asyncio.sleep(100.0)

        await group.start(work=work)
        stage.put_each(keys=40)
        await group.until_held(4)
        await stage.advance(3.0)
        second = await group.start(work=work)
        await group.until_held(2, 2, within_seconds=12.0)
        assert long_one not in second.held
        await stage.until(lambda: not group.lease(long_one).is_pending, "the busy one is kept", 5.0)
        await stage.advance(40.0)
        assert {len(each.held) for each in group.members} == {2}
        assert len(second.told(TenureEnded)) == 0

    play()


@pytest.mark.parametrize("deadline", [8.0, 60.0])
@pytest.mark.parametrize("stays", [False, True], ids=["the whole fleet", "all but one"])
def test_many_that_drain_at_once_leave_nothing_behind_and_soon(stays: bool, deadline: float) -> None:
    """Fleet seed 200427: a lease went to a worker whose mark was under way, its owner waited beyond the deadline,
    and a row was left that named one of them as owner and the other as the next.
    """

    @directed(keys=6, work=BUSY)
    async def play(stage: Stage) -> None:
        leaving = [scans_rarely(stage.start()) for _ in range(5)]
        await asyncio.sleep(90.0)
        if stays:
            scans_rarely(stage.start())
            await asyncio.sleep(180.0)
        for nth, each in enumerate(leaving):
            if nth > 1:
                stage.calls("beat", Fate(there=0.3), of=each)
            each.drain(deadline)
        # Whoever goes to the one that stays is stopped once that one has noticed, or at half of the time there is.
        await asyncio.sleep(14.0 if stays and deadline > 20.0 else 8.1)
        assert [each.state for each in leaving] == ["gone"] * 5, stage.last_steps()
        left = {each.name for each in leaving}
        assert not any({row.owner, row.actual_owner} & left for row in map(stage.row, stage.keys))

    play()


@pytest.mark.parametrize(
    ("asks", "owner_leaves"),
    [
        pytest.param(True, False, id="it asked"),
        pytest.param(True, True, id="it asked, and the owner leaves"),
        pytest.param(False, True, id="the owner leaves"),
    ],
)
def test_who_waits_for_a_lease_under_a_long_batch_may_leave_all_the_same(asks: bool, owner_leaves: bool) -> None:
    """Its owner hears of it within seconds, though it scans rarely, and keeps the lease."""

    @staged(source="kinesis:clicks", shards=2 if asks else 1)
    async def play(stage: CatalogueStage) -> None:
        group = stage.group(hand_off_timeout_seconds=300.0, drain_timeout_seconds=8.0)

        async def work(batch: Batch) -> None:
            await asyncio.sleep(100.0)

        owner = await group.start(work=work, drain_timeout_seconds=300.0)
        await stage.until(lambda: len(owner.held) == len(stage.open_shards()), "the owner owns all")
        stage.put_each(keys=20)
        second = await group.start()
        await stage.advance(5.0)
        for each in group.members:
            scan_rarely(each.worker._loop)
        await stage.advance(2.0)
        if owner_leaves:
            owner.worker.stop()
        await stage.until(lambda: any(lease.is_pending for lease in group.leases().values()), "one is to move", 1.0)
        assert await second.drain() is Outcome.CLEAN
        assert not any(lease.is_pending for lease in group.leases().values())
        if owner_leaves:
            await group.start()
        await group.until_given(250.0)

    play()
