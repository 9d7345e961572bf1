"""The owner's side of a hand-off: how long it waits, and what it says of how long that was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from consumer.hooks import HandOffFinished, HandOffTakenBack
from consumer.leasing.drain import Drain
from consumer.leasing.handoff import OwnerSide, choose_receivers, settle_mine
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.leases import Leases
from consumer.leasing.observation import Observation, Observations
from consumer.leasing.tenure import StopReason
from lease_store import verbs
from lease_store.lease import Lease, WorkerRow
from tests.unit.leasing.loop_stage import Deaf, leases_on
from tests.unit.leasing.scripted_store import ME, Bench, Step, on_bench, stand_still


async def owned(bench: Bench) -> tuple[Leases, HeldLease]:
    """Leases of ``me``, which holds ``s`` and knows of a live peer ``b``."""
    leases = leases_on(bench)
    await leases.create(Lease(key="s", owner=ME, created_at="1"))
    await beat(bench, leases, 1)
    return leases, leases.held["s"]


async def pending(bench: Bench, held: HeldLease) -> None:
    """``b`` asks for the lease, and this worker learns of it."""
    bench.other(lambda lease: verbs.start_hand_off(lease, "b"))
    await held.renew()


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
        await pending(bench, held)
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
    await pending(bench, held)
    first = bench.begin(owner.watch(held))
    await pass_time(bench, leases, held, 2)
    await bench.clock.sleep(0.05)
    await held.take_back("b")
    bench.other(lambda lease: verbs.start_hand_off(replace(lease, owner=ME), "b"))
    await held.renew()
    second = bench.begin(owner.watch(held))
    await pass_time(bench, leases, held, 2)
    assert held.hand_off_to == "b"
    await pass_time(bench, leases, held, 2)
    assert held.hand_off_to is None
    assert first.done()
    assert second.done()


@on_bench
async def test_a_hand_off_that_began_while_one_before_it_was_taken_back_gets_no_more_than_its_time(
    bench: Bench,
) -> None:
    """Two saw to the first: the second of them found another one under way, and nobody watched that."""
    leases, held = await owned(bench)
    owner = OwnerSide(leases, hand_off_timeout_seconds=3.0)

    class Watching(Deaf):
        def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
            if reason == "hand_off":
                bench.begin(owner.watch(held))

    leases._listener = Watching()
    await pending(bench, held)
    to_c = Step(before=lambda: bench.other(lambda lease: verbs.start_hand_off(lease, "c")))
    bench.script.extend([Step(seconds=0.3), Step(), to_c])
    for write in (held.renew(), owner.keep(held), held.renew()):
        bench.begin(write)
    await bench.clock.sleep(0.01)
    await bench.write_worker(WorkerRow(worker_id="b", beat=2, draining=True))
    await leases.read_worker("b")
    await bench.clock.sleep(1.0)
    assert held.hand_off_to == "c"
    await pass_time(bench, leases, held, 3)
    assert held.hand_off_to is None


@on_bench
async def test_a_hand_off_that_two_tasks_take_back_is_told_once(bench: Bench) -> None:
    leases, held = await owned(bench)
    owner = OwnerSide(leases, hand_off_timeout_seconds=3.0)
    await pending(bench, held)
    both = [bench.begin(owner.keep(held)) for _ in range(2)]
    await bench.clock.sleep(1.0)
    assert all(task.done() for task in both)
    assert held.hand_off_to is None
    assert len([fact for fact in bench.facts if isinstance(fact, HandOffTakenBack)]) == 1


@on_bench
async def test_a_draining_worker_waits_for_its_batch_but_keeps_no_receiver_that_leaves(bench: Bench) -> None:
    leases, held = await owned(bench)
    owner = OwnerSide(leases, hand_off_timeout_seconds=3.0)
    leases.draining = True
    await held.start_hand_off("b")
    watch = bench.begin(owner.watch(held))
    await pass_time(bench, leases, held, 5)
    assert held.hand_off_to == "b"
    await bench.write_worker(WorkerRow(worker_id="b", beat=10**9, draining=True))
    reader = bench.begin(owner.look_at_receivers())
    await bench.clock.sleep(3.0)
    assert held.hand_off_to is None
    assert watch.done()
    reader.cancel()


@on_bench
async def test_a_draining_worker_says_how_long_its_hand_off_took(bench: Bench) -> None:
    leases, held = await owned(bench)
    leases.draining = True
    await held.start_hand_off("b")
    await bench.clock.sleep(0.7)
    assert await OwnerSide(leases, hand_off_timeout_seconds=30.0).let_go(held, shutdown_called=True)
    assert HandOffFinished("s", "b", pytest.approx(0.7)) in bench.facts


FULL = Lease(key="x", owner=ME, created_at="1")


@pytest.mark.parametrize("has_room", [True, False])
def test_what_comes_beyond_the_limit_goes_on_to_a_peer_with_room_or_to_nobody(has_room: bool) -> None:
    """Lease world seeds 20, 38 and 52: two that drained counted on one place each, and a worker held 8 leases of 6."""

    async def test(bench: Bench) -> None:
        leases = leases_on(bench, max_leases=1)
        await leases.create(FULL)
        for number in (1, 2):
            await bench.write_worker(WorkerRow(worker_id="b", beat=number, max_leases=None if has_room else 0))
            await leases.read_worker("b")
        bench.apply(verbs.create(Lease(key="s", owner=ME, counter=7, created_at="1")))
        await leases.read("s")
        assert await settle_mine(leases, "s")
        assert set(leases.held) == {"x"}
        assert bench.row.owner == ("b" if has_room else None)

    on_bench(test)()


async def leaving_two(bench: Bench) -> tuple[Leases, OwnerSide]:
    """Leases of ``me``, which drains and holds two; its peer ``b`` has room for one."""
    leases = leases_on(bench)
    for key in ("s", "t"):
        await leases.create(Lease(key=key, owner=ME, created_at="1"))
    for number in (1, 2):
        await bench.write_worker(WorkerRow(worker_id="b", beat=number, max_leases=1))
        await leases.read_worker("b")
    leases.draining = True
    return leases, OwnerSide(leases, 30.0)


@on_bench
async def test_two_leases_that_are_let_go_at_once_do_not_count_on_one_place(bench: Bench) -> None:
    """What names a peer is not in the table yet when the second of them looks for one."""
    leases, owner = await leaving_two(bench)
    for held in list(leases.held.values()):
        bench.begin(owner.let_go(held, shutdown_called=False))
    await bench.clock.sleep(1.0)
    assert {row.key: row.owner for row in bench.rows().leases} == {"s": "b", "t": None}


@on_bench
async def test_a_drain_keeps_the_place_that_it_has_chosen_for_a_lease_until_the_lease_names_it(bench: Bench) -> None:
    """Lease world seed 400893: three went to one place, and two of them were passed on and read by nobody."""
    leases, owner = await leaving_two(bench)

    class Stopping(Deaf):
        def stop_changed(self, held: HeldLease, reason: StopReason | None) -> None:
            bench.begin(owner.let_go(held, shutdown_called=False))

    leases._listener = Stopping()

    async def mark() -> None:
        """The row says that this worker drains."""

    drain = Drain(leases, owner, bench.begin, lambda: 1.0, lambda: None)
    bench.begin(drain.run(mark, 60.0))
    await bench.clock.sleep(5.0)
    assert {row.key: row.owner for row in bench.rows().leases} == {"s": "b", "t": None}


@on_bench
async def test_what_names_a_full_worker_while_it_goes_on_elsewhere_is_let_go_at_once(bench: Bench) -> None:
    leases = leases_on(bench, max_leases=1)
    await leases.create(FULL)
    bench.apply(verbs.create(Lease(key="s", owner="b", checkpoint_owner=ME, counter=7, created_at="1")))
    await leases.read("s")
    await beat(bench, leases, 1)
    assert await settle_mine(leases, "s")
    assert (bench.row.owner, bench.row.checkpoint_owner) == ("b", None)


@on_bench
async def test_what_a_dead_owner_was_handing_to_a_draining_worker_is_passed_on_after_a_failover_time(
    bench: Bench,
) -> None:
    """Catalogue C8: nobody else was there to take it, and the drain lasted to its deadline."""
    leases = leases_on(bench)
    leases.draining = True
    bench.apply(verbs.create(Lease(key="s", owner=ME, checkpoint_owner="dead", counter=7, created_at="1")))
    await leases.read("s")
    await stand_still(leases, 9.9)
    assert not await settle_mine(leases, "s")
    await stand_still(leases, 0.2)
    assert await settle_mine(leases, "s")
    assert (bench.row.owner, bench.row.checkpoint_owner) == (None, None)


class UnseenRows(Observations):
    """Rows that nobody may go through."""

    def __iter__(self) -> Iterator[Observation]:
        raise AssertionError("a look at every row")


@on_bench
async def test_where_there_is_nothing_to_give_or_nobody_to_give_to_no_row_is_gone_through(bench: Bench) -> None:
    """A drain asks ten times a second, and for each lease where a whole fleet stops: 60 ms each, of 70,000 rows."""
    leases, _ = await owned(bench)
    leases.observations = UnseenRows()
    assert choose_receivers(leases, ["s"]) == {}  # the peer's row was not seen to move yet
    await beat(bench, leases, 2)
    assert choose_receivers(leases, []) == {}
    await bench.write_worker(WorkerRow(worker_id="b", beat=3, draining=True))
    await leases.read_worker("b")
    assert choose_receivers(leases, ["s"]) == {}
