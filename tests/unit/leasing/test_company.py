"""Writes that wait for a place go together by the next: bounded, none waits for company, each has its own fate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from consumer.errors import LeaseLost
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.lease_calls import Look, Steps, Writing
from consumer.leasing.places import Places
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseTableThrottled
from lease_store.store import MOST_AT_ONCE
from tests.unit.leasing.round_stage import TIMING, Round, on_round
from tests.unit.leasing.scripted_store import ME, Step

R = TIMING.renew_seconds
A, B = "a", "b"


@on_round
async def test_those_that_are_being_settled_keep_no_place_from_renewals_of_others(play: Round) -> None:
    """As many as may be under way are lost, and no read of their rows is answered: what is due then goes in time."""
    reading = asyncio.Event()

    async def silent(keys: Sequence[str]) -> list[Any]:
        reading.set()
        await asyncio.Event().wait()
        return []

    play.bench.read_many = silent  # type: ignore[method-assign]
    play.fates = ["lost"] * 28
    play.hold(*(f"{number:03d}" for number in range(28 * 25)))
    await play.until(2.0)
    later = play.hold(A, B)
    await play.until(2.0 + R + 0.1)
    assert reading.is_set()
    assert play.sent[28:] == [(2.0 + R, [A, B])]
    assert {held.over for held in later} == {None}


@on_round
async def test_all_requests_of_a_worker_fit_its_connections(play: Round) -> None:
    """Whoever asks: one that waited for a connection would have its time-out run meanwhile."""
    play.fates = ["lost"] * 100
    leases = play.hold(*(f"{number:04d}" for number in range(2000)))
    await play.until(R - 0.01)
    told: list[Any] = []
    play.bench.begin(play.checkpoints.store([(held, Checkpoint("5")) for held in leases[:600]], _told(told)))
    play.bench.script.extend([Step(seconds=5.0)] * 400)
    for held in leases[600:1000]:
        play.bench.begin(held.take_back("nobody") if held.lease.is_pending else held.renew())
    await play.until(R + 1.0)
    assert len(play.sent) == 28 < MOST_AT_ONCE
    assert sum(at == R for at, _ in play.sent) == 8, "and these are kept for renewals"


def _told(heard: list[Any]) -> Any:
    return lambda held, error: heard.append((held.key, error))


async def let_go(play: Round, *leases: HeldLease) -> list[BaseException | None]:
    """Release all at once."""
    return await asyncio.gather(*(held.release() for held in leases), return_exceptions=True)


@on_round
async def test_releases_at_one_moment_take_few_requests_and_one_alone_is_a_plain_write(play: Round) -> None:
    leases = play.hold(*(f"{number:02d}" for number in range(60)), A)
    *many, one = leases
    assert await let_go(play, *many) == [None] * 60
    await one.release()
    assert [len(keys) for _, keys in play.sent] == [25, 25, 10, 1]
    assert play.bench.sent == ["release"]
    assert {held.over for held in leases} == {"released"}
    assert {(row.owner, row.counter) for row in play.bench.rows().leases} == {(None, 8)}


@on_round
async def test_each_release_has_a_fate_of_its_own(play: Round) -> None:
    """Refused is lost; throttled was not applied, and its tenure goes on with the trust that it had."""
    a, b, c = play.hold(A, B, "c")
    play.bench.apply(verbs.take(b.lease, "thief"))
    play.fates = [lambda write: LeaseTableThrottled() if write.key == "c" else None]
    first, second, third = await let_go(play, a, b, c)
    assert first is None
    assert isinstance(second, LeaseLost)
    assert isinstance(third, LeaseTableThrottled)
    assert (a.over, b.over, c.over) == ("released", "lost", None)
    assert c.trusted_until == play.started + TIMING.trust_seconds


@pytest.mark.parametrize(("fate", "requests"), [("lost, applied", 1), ("lost", 2)])
def test_releases_whose_reply_was_lost_are_settled_by_one_read(fate: str, requests: int) -> None:
    @on_round
    async def settled(play: Round) -> None:
        leases = play.hold(A, B, "c")
        play.fates = [fate]
        releasing = asyncio.ensure_future(let_go(play, *leases))
        await play.until(1.0)
        assert {held.trusted_until for held in leases} == {-math.inf}, "the send ends trust, whatever the reply"
        assert await releasing == [None] * 3
        assert [keys for _, keys in play.sent] == [[A, B, "c"]] * requests
        assert play.reads == [[A, B, "c"]]
        assert {(row.owner, row.counter) for row in play.bench.rows().leases} == {(None, 8)}

    settled()


@on_round
async def test_hand_offs_begin_and_end_together(play: Round) -> None:
    leases = play.hold(A, B)
    await asyncio.gather(*(held.start_hand_off("next") for held in leases))
    assert {(row.owner, row.checkpoint_owner) for row in play.bench.rows().leases} == {("next", ME)}
    await asyncio.gather(*(held.finish_hand_off() for held in leases))
    assert {(row.owner, row.checkpoint_owner) for row in play.bench.rows().leases} == {("next", None)}
    assert [keys for _, keys in play.sent] == [[A, B]] * 2
    assert {held.over for held in leases} == {"handed_off"}


@on_round
async def test_a_hand_off_started_meanwhile_is_what_a_release_ends(play: Round) -> None:
    """In company a release asks that nothing changed; refused, it goes on from the row that it was shown."""
    a, b = play.hold(A, B)
    play.bench.apply(verbs.start_hand_off(a.lease, "next"))
    assert await let_go(play, a, b) == [None, None]
    assert [(row.key, row.owner, row.checkpoint_owner) for row in play.bench.rows().leases] == [
        (A, "next", None),
        (B, None, None),
    ]


@on_round
async def test_who_sends_for_all_may_be_cancelled_and_the_others_find_out_what_became_of_theirs(play: Round) -> None:
    leases = play.hold(A, B, "c")
    play.fates = ["lost, applied"]
    works = [play.bench.begin(held.release()) for held in leases]
    await play.until(0.5)
    works[0].cancel()
    await asyncio.wait(works)
    assert play.bench.clock.monotonic() == play.started + 0.5, "at once"
    assert [work.cancelled() for work in works] == [True, False, False]
    assert [held.over for held in leases[1:]] == ["released"] * 2
    assert leases[0]._turn.is_free


@on_round
async def test_who_is_cancelled_before_its_turn_is_not_sent_and_holds_nobody_up(play: Round) -> None:
    leases = play.hold(A, B, "c")
    works = [play.bench.begin(held.release()) for held in leases]
    await asyncio.sleep(0)
    works[0].cancel()
    await asyncio.wait(works)
    assert [keys for _, keys in play.sent] == [[B, "c"]]
    assert leases[0]._turn.is_free


@on_round
async def test_the_one_that_was_to_send_passes_that_on_where_it_is_cancelled_in_the_same_moment(play: Round) -> None:
    leases = play.hold(A, B, "c")
    works = [play.bench.begin(held.release()) for held in leases]
    for _ in range(3):
        await asyncio.sleep(0)
        if play.calls.places.taken:
            break
    works[0].cancel()
    await asyncio.wait(works)
    assert [keys for _, keys in play.sent] == [[B, "c"]]
    assert [held.over for held in leases[1:]] == ["released"] * 2
    assert play.calls.places.taken == 0


@on_round
async def test_a_fault_of_one_is_raised_to_its_own_caller_alone(play: Round) -> None:
    def steps() -> Steps:
        yield Look(A)
        raise ZeroDivisionError

    def broken() -> Writing:
        raise KeyError

    (held,) = play.hold(B)
    begins = [broken, lambda: Writing(steps(), lambda _: None), lambda: None]
    works = [play.calls.join(begin) for begin in begins]  # type: ignore[arg-type]
    outcomes = await asyncio.gather(*works, held.release(), return_exceptions=True)
    assert [type(each) for each in outcomes] == [KeyError, ZeroDivisionError, type(None), type(None)]
    assert held.over == "released"
    assert play.calls.places.taken == 0


@on_round
async def test_what_has_nothing_to_write_waits_for_no_place(play: Round) -> None:
    (held,) = play.hold(A)
    play.calls.places = Places(1, 0)
    await play.calls.places.take()
    assert not await held.take_back("nobody")
    held.end("lost")
    with pytest.raises(LeaseLost):
        await held.renew()
