"""The owner's side of a hand-off: how long it waits, and what it says of how long that was."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from consumer.hooks import HandOffFinished, HandOffTakenBack, Hooks
from consumer.leasing.handoff import OwnerSide
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases
from consumer.leasing.timing import LeaseTiming
from lease_store import verbs
from lease_store.lease import Lease, WorkerRow
from tests.unit.leasing.scripted_store import ME, Bench, on_bench


class Deaf:
    """A listener that does nothing."""

    def tenure_began(self, held: HeldLease) -> None: ...
    def stop_changed(self, held: HeldLease, reason: Any) -> None: ...


async def owned(bench: Bench) -> tuple[Leases, HeldLease]:
    """Leases of ``me``, which holds ``s`` and knows of a live peer ``b``."""
    leases = Leases(
        bench,
        me=ME,
        timing=LeaseTiming(10.0),
        clock=bench.clock,
        random=random.Random(1),
        hooks=Hooks([bench.facts.append]),
        listener=Deaf(),
    )
    await leases.create(Lease(key="s", owner=ME, created_at="1"))
    await beat(bench, leases, 1)
    return leases, leases.held["s"]


async def beat(bench: Bench, leases: Leases, number: int) -> None:
    await bench.write_worker(WorkerRow(worker_id="b", beat=number))
    await leases.read_worker("b")


async def pass_time(bench: Bench, leases: Leases, held: HeldLease, seconds: int) -> None:
    for _ in range(seconds):
        await bench.clock.sleep(1.0)
        await held.renew()
        await beat(bench, leases, int(bench.clock.monotonic()))


@on_bench
async def test_a_hand_off_that_was_taken_back_does_not_lengthen_the_next_one(bench: Bench) -> None:
    leases, held = await owned(bench)
    owner = OwnerSide(leases, hand_off_timeout_seconds=3.0)
    for _ in range(2):
        bench.other(lambda lease: verbs.start_hand_off(lease, "b"))
        await held.renew()
        watch = bench.begin(owner.watch(held))
        await pass_time(bench, leases, held, 5)
        assert watch.done()
    assert len([fact for fact in bench.facts if isinstance(fact, HandOffTakenBack)]) == 2
    await pass_time(bench, leases, held, 60)
    leases.draining = True
    assert await owner.let_go(held, shutdown_called=True)
    (finished,) = [fact for fact in bench.facts if isinstance(fact, HandOffFinished)]
    assert finished.seconds < 1.0


@on_bench
async def test_a_second_hand_off_gets_its_whole_time_though_the_first_was_still_watched(bench: Bench) -> None:
    leases, held = await owned(bench)
    owner = OwnerSide(leases, hand_off_timeout_seconds=3.0)
    bench.other(lambda lease: verbs.start_hand_off(lease, "b"))
    await held.renew()
    first = bench.begin(owner.watch(held))
    await pass_time(bench, leases, held, 2)
    await bench.clock.sleep(0.05)
    await held.take_back()
    bench.other(lambda lease: verbs.start_hand_off(replace(lease, owner=ME), "b"))
    await held.renew()
    second = bench.begin(owner.watch(held))
    await pass_time(bench, leases, held, 2)
    assert held.hand_off_to == "b"
    await pass_time(bench, leases, held, 2)
    assert held.hand_off_to is None
    assert first.done()
    assert second.done()
