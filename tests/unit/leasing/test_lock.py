"""The leader's lock: who may want it, what an unknown reply means, and that it goes at once where its holder leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consumer.hooks import LockSeen
from consumer.leasing.lock import LeaderCandidate, SeenLock, is_gone, may_acquire, see_lock
from lease_store import verbs
from lease_store.attributes import Place
from lease_store.coordination import LeaderLock
from lease_store.errors import LeaseTableThrottled
from lease_store.store import Applied
from tests.unit.leasing.loop_stage import leases_on
from tests.unit.leasing.scripted_store import ME, Bench, Step, on_bench

JAVA = LeaderLock(owner="java", version="v1", duration_seconds=120.0)


# -- pure


def test_a_version_is_watched_from_its_first_sight_and_a_new_one_from_its_own() -> None:
    seen = see_lock(SeenLock(), JAVA, 10.0)
    assert (seen.since, seen.has_moved) == (10.0, False)
    assert see_lock(seen, JAVA, 40.0).since == 10.0
    moved = see_lock(seen, replace(JAVA, version="v2"), 40.0)
    assert (moved.since, moved.has_moved) == (40.0, True)


@pytest.mark.parametrize(
    ("seen", "now", "is_mine_to_take"),
    [
        (SeenLock(None, 5.0), 5.0, True),
        (SeenLock(replace(JAVA, is_released=True), 5.0), 5.0, True),
        (SeenLock(JAVA, 5.0), 125.0, False),
        (SeenLock(JAVA, 5.0), 125.1, True),
        (SeenLock(replace(JAVA, duration_seconds=3.0), 5.0), 8.1, True),
        (SeenLock(replace(JAVA, owner=ME), 5.0), 5.0, True),
    ],
)
def test_the_lock_is_taken_after_the_duration_that_its_row_states(seen: SeenLock, now: float, is_mine_to_take: bool):
    """A contender that went by its own setting would depose a living KCL, or wait in vain for a short lock."""
    assert may_acquire(seen, ME, now) is is_mine_to_take


@pytest.mark.parametrize(
    ("seen", "sign_at", "now", "gone"),
    [
        (SeenLock(None, 0.0), None, 0.0, True),
        (SeenLock(replace(JAVA, duration_seconds=9.0), 0.0), 8.0, 9.5, True),
        (SeenLock(JAVA, 0.0), 1.0, 30.0, False),
        (SeenLock(JAVA, 0.0), 1.0, 31.0, True),
        (SeenLock(JAVA, 29.0), 1.0, 31.0, False),
        (SeenLock(JAVA, 0.0), None, 29.0, False),
        (SeenLock(JAVA, 0.0), None, 30.0, True),
    ],
)
def test_a_leader_is_gone_when_nothing_of_it_moves(seen: SeenLock, sign_at: float | None, now: float, gone: bool):
    """A KCL's heartbeats are 30 s apart: who owns leases shows more of itself, and is condemned by that alone."""
    assert is_gone(seen, now, sign_at=sign_at, failover_seconds=10.0) is gone


# -- the candidate


class Election:
    """A candidate on a bench, what it was told, and the place of the lock."""

    def __init__(self, bench: Bench, place: Place = "leases") -> None:
        self.bench = bench
        self.place = place
        self.changes = 0
        self.leases = leases_on(bench)
        self.candidate = LeaderCandidate(self.leases, lambda: self.place, lambda: 1.0, self._changed)
        self.running = bench.begin(self.candidate.run())

    def _changed(self) -> None:
        self.changes += 1

    @property
    def lock(self) -> LeaderLock | None:
        return self.bench.rows().lock

    def put(self, lock: LeaderLock) -> None:
        self.bench.apply(verbs.acquire_lock(self.lock, lock, "leases"))

    async def until(self, holds: Callable[[], bool], within: float) -> float:
        began = self.bench.clock.monotonic()
        while not holds():
            assert self.bench.clock.monotonic() < began + within
            await self.bench.clock.sleep(0.05)
        return self.bench.clock.monotonic() - began


@on_bench
async def test_a_free_lock_is_taken_and_kept_with_a_new_version_each_quarter_of_a_failover_time(bench: Bench) -> None:
    election = Election(bench)
    await bench.clock.sleep(0.1)
    first = election.lock
    assert first is not None
    assert (first.owner, first.duration_seconds, election.candidate.is_leader) == (ME, 9.0, True)
    item = bench.get("Leader")
    assert item is not None
    assert [*item] == ["entityType", "leaseKey", "ownerName", "leaseDuration", "recordVersionNumber"]
    assert all([*value] == ["S"] for value in item.values())
    assert [len(part) for part in first.version.split("-")] == [8, 4, 4, 4, 12]
    versions = set()
    for _ in range(100):
        await bench.clock.sleep(0.1)
        assert election.lock is not None
        versions.add(election.lock.version)
        assert election.candidate.is_leader
    assert len(versions) in (4, 5)
    assert election.changes == 1


@on_bench
async def test_a_living_kcl_is_never_deposed_and_a_dead_one_after_its_own_duration(bench: Bench) -> None:
    bench.apply(verbs.acquire_lock(None, JAVA, "leases"))
    election = Election(bench)
    for beat in range(8):
        await bench.clock.sleep(30.0)
        assert election.lock is not None
        assert election.lock.owner == "java"
        bench.apply(verbs.heartbeat_lock(election.lock, f"beat-{beat}", "leases"))
    died_at = bench.clock.monotonic()
    await election.until(lambda: election.candidate.is_leader, 125.0)
    assert 120.0 < bench.clock.monotonic() - died_at < 121.2


@on_bench
async def test_a_released_lock_is_taken_at_the_next_look(bench: Bench) -> None:
    bench.apply(verbs.acquire_lock(None, JAVA, "leases"))
    election = Election(bench)
    await bench.clock.sleep(5.0)
    bench.apply(verbs.release_lock(JAVA, "leases"))
    assert await election.until(lambda: election.candidate.is_leader, 2.0) <= 1.1


@on_bench
async def test_of_two_candidates_one_leads_and_the_other_follows_its_death(bench: Bench) -> None:
    one = Election(bench)
    other = Election(bench)
    other.leases.me = "other"
    leading = []
    for _ in range(200):
        await bench.clock.sleep(0.1)
        leading.append(one.candidate.is_leader + other.candidate.is_leader)
    assert set(leading[5:]) == {1}
    dead, heir = (one, other) if one.candidate.is_leader else (other, one)
    dead.running.cancel()
    assert await heir.until(lambda: heir.candidate.is_leader, 12.0) <= 10.0


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("at", ["acquire", "heartbeat"])
def test_a_lost_reply_is_settled_by_the_version_that_the_row_shows(at: str, applied: bool) -> None:
    @on_bench
    async def main(bench: Bench) -> None:
        if at == "heartbeat":
            election = Election(bench)
            await bench.clock.sleep(1.0)
            bench.script.append(Step(applied=applied, lost=True))
        else:
            bench.script.append(Step(applied=applied, lost=True))
            election = Election(bench)
        await bench.clock.sleep(10.0)
        assert election.candidate.is_leader
        assert bench.sent.count("acquire_lock") == (1 if applied or at == "heartbeat" else 2)

    main()


@on_bench
async def test_a_write_that_comes_late_deposes_nobody(bench: Bench) -> None:
    """The first acquisition is lost, a second one stands, and the first arrives after all: it finds a row."""
    bench.script.append(Step(applied=False, lost=True, late=3.0))
    election = Election(bench)
    await bench.clock.sleep(2.6)
    assert election.lock is not None
    version = election.lock.version
    await bench.clock.sleep(1.0)
    assert election.lock.version == version
    await bench.clock.sleep(20.0)
    assert election.candidate.is_leader


@on_bench
async def test_a_heartbeat_that_comes_late_is_the_holders_own(bench: Bench) -> None:
    """Not there when its row is read for it, and there when the next one is written: its leader leads on."""
    election = Election(bench)
    await bench.clock.sleep(1.0)
    bench.script.append(Step(applied=False, lost=True, late=2.05))
    bench.script.append(Step(error=LeaseTableThrottled()))
    await bench.clock.sleep(20.0)
    assert election.candidate.is_leader
    assert [fact.is_mine for fact in bench.facts if isinstance(fact, LockSeen)] == [True]
    assert bench.sent.count("acquire_lock") == 1


@on_bench
async def test_a_holder_that_hears_nothing_stops_leading_before_others_may_start(bench: Bench) -> None:
    election = Election(bench)
    await bench.clock.sleep(0.1)
    bench.script.extend([Step(error=LeaseTableThrottled())] * 1000)
    await election.until(lambda: not election.candidate.is_leader, 20.0)
    assert bench.clock.monotonic() < 1000.1 + 9.0
    bench.script.clear()
    await election.until(lambda: election.candidate.is_leader, 5.0)


@on_bench
async def test_who_finds_the_lock_elsewhere_leads_no_more(bench: Bench) -> None:
    election = Election(bench)
    await bench.clock.sleep(1.0)
    election.put(JAVA)
    await bench.clock.sleep(3.0)
    assert not election.candidate.is_leader
    assert election.lock == JAVA
    facts = [fact for fact in bench.facts if isinstance(fact, LockSeen)]
    assert [(fact.owner, fact.is_mine) for fact in facts] == [(ME, True), ("java", False)]


@on_bench
async def test_a_holder_that_stops_deletes_its_row_at_once(bench: Bench) -> None:
    election = Election(bench)
    await bench.clock.sleep(1.0)
    election.candidate.stop()
    assert not election.candidate.is_leader
    await bench.clock.sleep(0.01)
    assert election.lock is None
    await election.running


@pytest.mark.parametrize("applied", [True, False])
def test_a_release_without_a_reply_is_tried_until_the_row_is_not_mine(applied: bool) -> None:
    @on_bench
    async def main(bench: Bench) -> None:
        election = Election(bench)
        await bench.clock.sleep(1.0)
        bench.script.append(Step(applied=applied, lost=True))
        election.candidate.stop()
        await election.running
        assert election.lock is None

    main()


@on_bench
async def test_a_release_leaves_the_next_holder_alone(bench: Bench) -> None:
    election = Election(bench)
    await bench.clock.sleep(1.0)
    election.put(JAVA)
    election.candidate.stop()
    await election.running
    assert election.lock == JAVA


@on_bench
async def test_a_lock_at_a_place_that_was_given_up_is_released_and_taken_at_the_new_one(bench: Bench) -> None:
    """The migration of a KCL 3.0's tables is complete: who goes on holding the old lock is a second leader."""
    bench.add_legacy_tables()
    election = Election(bench, "coordinator")
    await bench.clock.sleep(1.0)
    assert await bench.read_lock("coordinator") is not None
    assert election.lock is None
    election.place = "leases"
    await bench.clock.sleep(4.0)
    assert await bench.read_lock("coordinator") is None
    assert election.lock is not None
    assert election.candidate.is_leader


@on_bench
async def test_an_acquisition_is_refused_where_another_was_faster(bench: Bench) -> None:
    def faster() -> None:
        assert isinstance(bench.apply(verbs.acquire_lock(None, JAVA, "leases")), Applied)

    bench.script.append(Step(before=faster))
    election = Election(bench)
    await bench.clock.sleep(1.0)
    assert election.lock == JAVA
    assert not election.candidate.is_leader
