"""Many leases that are taken at one moment: few requests, each with the fate that it would have had by itself."""

from __future__ import annotations

import asyncio
from typing import Any

from consumer.leasing.handoff import OwnerSide
from consumer.leasing.leases import Leases
from lease_store import verbs
from lease_store.attributes import Place
from lease_store.errors import LeaseTableThrottled
from lease_store.lease import Lease, WorkerRow
from lease_store.store import Unknown
from tests.unit.leasing.loop_stage import leases_on
from tests.unit.leasing.round_stage import TIMING, Round, on_round
from tests.unit.leasing.scripted_store import ME, stand_still

A, B, C, D = "a", "b", "c", "d"


async def silent(play: Round, *keys: str, owner: str | None = None, **fields: Any) -> Leases:
    """Leases that nobody has moved for a failover time, as seen."""
    for key in keys:
        play.bench.apply(verbs.create(Lease(key=key, owner=owner, counter=7, created_at="1")))
    leases = leases_on(play.bench, **fields)
    for key in keys:
        await leases.read(key)
    await stand_still(leases, 11.0)
    return leases


def numbered(count: int) -> list[str]:
    return [f"{number:04d}" for number in range(count)]


async def take(leases: Leases, *keys: str) -> list[bool | BaseException]:
    return await asyncio.gather(*map(leases.take, keys), return_exceptions=True)


@on_round
async def test_those_of_one_moment_take_few_requests_and_one_alone_is_a_plain_write(play: Round) -> None:
    keys = numbered(61)
    leases = await silent(play, *keys, owner="dead")
    assert await take(leases, *keys[:60]) == [True] * 60
    assert await leases.take(keys[60])
    assert play.sent == [(11.0, keys[:25]), (11.0, keys[25:50]), (11.0, keys[50:60]), (11.0, keys[60:])]
    assert [each for each in play.bench.sent if each != "read"] == ["take"]
    assert {held.trusted_until for held in leases.held.values()} == {play.started + 11.0 + TIMING.trust_seconds}
    rows = {(row.owner, row.counter, row.owner_switches_since_checkpoint) for row in play.bench.rows().leases}
    assert rows == {(ME, 8, 1)}


@on_round
async def test_each_is_judged_by_itself(play: Round) -> None:
    leases = await silent(play, A, B, C, D)
    rows = {row.key: row for row in play.bench.rows().leases}
    play.bench.apply(verbs.take(rows[B], "faster"))
    fates: dict[str, Any] = {C: LeaseTableThrottled(), D: Unknown("the service failed")}
    play.fates = [lambda write: fates.get(write.key)]
    first, second, third, fourth = await take(leases, A, B, C, D)
    assert (first, second, fourth) == (True, False, False)
    assert isinstance(third, LeaseTableThrottled)
    assert leases.held.keys() == {A}
    assert not leases.is_acquiring


@on_round
async def test_a_lost_batch_is_settled_by_one_read_and_accepted_together(play: Round) -> None:
    """What a reply would have told is never assumed: trust runs from the renewal of the row that was read."""
    leases = await silent(play, A, B, C)
    play.fates = ["lost, applied"]
    assert await take(leases, A, B, C) == [True] * 3
    assert [keys for _, keys in play.sent] == [[A, B, C]] * 2
    assert play.reads == [[A, B, C]]
    accepted_at = play.started + 11.0 + TIMING.call_seconds
    assert {held.trusted_until for held in leases.held.values()} == {accepted_at + TIMING.trust_seconds}
    assert {row.counter for row in play.bench.rows().leases} == {9}


@on_round
async def test_a_lost_batch_that_never_arrived_wins_nothing(play: Round) -> None:
    leases = await silent(play, A, B, C)
    play.fates = ["lost"]
    assert await take(leases, A, B, C) == [False] * 3
    assert not leases.held


@on_round
async def test_a_hand_off_that_a_dead_owner_never_saw_costs_no_lease_and_no_time(play: Round) -> None:
    """Its counter has not moved: by itself the take would have stood, and so it goes by itself."""
    leases = await silent(play, A, B, C, owner="dead")
    rows = {row.key: row for row in play.bench.rows().leases}
    play.bench.apply(verbs.start_hand_off(rows[B], "next"))
    assert await take(leases, A, B, C) == [True] * 3
    assert play.sent == [(11.0, [A, B, C]), (11.0, [B])]
    assert {(row.owner, row.checkpoint_owner) for row in play.bench.rows().leases} == {(ME, None)}


@on_round
async def test_a_limit_is_kept_among_many(play: Round) -> None:
    keys = numbered(60)
    leases = await silent(play, *keys, max_leases=30)
    assert sum(each is True for each in await take(leases, *keys)) == 30
    assert sum(len(sent) for _, sent in play.sent) == 30


@on_round
async def test_no_more_are_under_way_than_there_are_places_and_what_waits_is_asked_for_anew(play: Round) -> None:
    """While they waited, the mode ended."""
    keys = numbered(1000)
    leases = await silent(play, *keys)
    play.fates = ["lost"] * 100
    wanted = [True]
    works = [play.bench.begin(leases.take(key, lambda: wanted[0])) for key in keys]
    await play.until(12.0)
    assert [len(sent) for _, sent in play.sent] == [25] * 20
    wanted[0] = False
    await asyncio.wait(works)
    assert len(play.sent) == 20


@on_round
async def test_what_waits_while_renewals_become_late_waits_on(play: Round) -> None:
    keys = numbered(600)
    leases = await silent(play, *keys)
    play.fates = ["lost"] * 20
    late = [False]
    leases.renewals_are_late = lambda: late[0]
    taking = play.bench.begin(take(leases, *keys))
    await play.until(12.0)
    late[0] = True
    await play.until(20.0)
    assert len(play.sent) == 20
    late[0] = False
    await taking
    assert sum(len(sent) for at, sent in play.sent if at >= 20.0) == 100
    assert len(leases.held) == 100


@on_round
async def test_none_is_taken_that_moved_while_it_waited(play: Round) -> None:
    leases = await silent(play, A, B, owner="slow")
    works = [play.bench.begin(leases.take(key)) for key in (A, B)]
    (row,) = [row for row in play.bench.rows().leases if row.key == A]
    play.bench.apply(verbs.renew(row, "slow"))
    await leases.read(A)
    await asyncio.wait(works)
    assert leases.held.keys() == {B}
    assert [keys for _, keys in play.sent] == [[B]]


@on_round
async def test_none_is_taken_that_ended_while_it_waited(play: Round) -> None:
    """Nobody moves its row again, so it stands still as a dead owner's does."""
    leases = await silent(play, A, B, owner="dead")
    late = [True]
    leases.renewals_are_late = lambda: late[0]
    works = [play.bench.begin(leases.take(key)) for key in (A, B)]
    for make in (lambda row: verbs.take(row, "other"), lambda row: verbs.end_shard(row, "other", ())):
        (row,) = [row for row in play.bench.rows().leases if row.key == A]
        play.bench.apply(make(row))
    await leases.read(A)
    await stand_still(leases, 11.0)
    late[0] = False
    await asyncio.wait(works)
    assert leases.held.keys() == {B}
    assert [keys for _, keys in play.sent] == [[B]]


@on_round
async def test_a_worker_that_leaves_lets_five_hundred_go_in_twenty_requests(play: Round) -> None:
    keys = numbered(500)
    leases = await silent(play, *keys)
    await take(leases, *keys)
    play.sent.clear()
    leases.draining = True
    owner = OwnerSide(leases, 30.0)
    gone = await asyncio.gather(*(owner.let_go(held, shutdown_called=True) for held in list(leases.held.values())))
    assert all(gone)
    assert len(play.sent) == 20
    assert {row.owner for row in play.bench.rows().leases} == {None}


@on_round
async def test_a_worker_that_leaves_hands_fifty_over_by_four_requests_and_two_reads_of_its_heir(play: Round) -> None:
    keys = numbered(50)
    leases = await silent(play, *keys)
    await take(leases, *keys)
    for beat in (1, 2):
        heir = WorkerRow(worker_id="heir", beat=beat)
        await play.bench.write_worker(heir)
        leases.peers.see(heir, play.bench.clock.monotonic())
    reads: list[str] = []
    read_worker = play.bench.read_worker

    async def counted(worker_id: str, place: Place = "leases") -> WorkerRow | None:
        reads.append(worker_id)
        await play.bench.clock.sleep(0.01)
        return await read_worker(worker_id, place)

    play.bench.read_worker = counted  # type: ignore[method-assign]
    play.sent.clear()
    leases.draining = True
    owner = OwnerSide(leases, 30.0)
    await asyncio.gather(*(owner.let_go(held, shutdown_called=True) for held in list(leases.held.values())))
    assert [len(sent) for _, sent in play.sent] == [25] * 4
    assert {(row.owner, row.checkpoint_owner) for row in play.bench.rows().leases} == {("heir", None)}
    assert len(reads) == 2
