"""A tenure that ends for another to begin here: nothing of the old one is written beside the new one."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import LeaseLost
from consumer.leasing.handoff import OwnerSide
from consumer.leasing.lease_calls import Look, Send, Steps, Writing
from consumer.leasing.leases import Leases
from lease_store import verbs
from lease_store.errors import LeaseTableUnavailable
from lease_store.lease import Lease
from lease_store.store import Applied
from tests.unit.leasing.loop_stage import leases_on
from tests.unit.leasing.round_stage import TIMING, Round, on_round
from tests.unit.leasing.scripted_store import ME, Bench, Step, on_bench

A, B = "a", "b"


async def held_by_me(bench: Bench) -> Leases:
    leases = leases_on(bench)
    await leases.create(Lease(key="s", owner=ME, created_at="1"))
    bench.sent.clear()
    return leases


@on_bench
async def test_what_was_ended_while_its_write_was_lost_asks_for_nothing_more(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(applied=False))
    renewing = bench.begin(held.renew())
    await bench.clock.sleep(0.5)
    held.end("restarted")
    with pytest.raises(LeaseLost, match="restarted"):
        await renewing
    assert bench.sent == ["renew"]
    assert held._turn.is_free


@on_bench
async def test_what_was_ended_while_its_row_was_read_writes_nothing_more(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(applied=False))
    fails = [LeaseTableUnavailable("scripted"), None]

    async def read(key: str) -> Lease | None:
        bench.sent.append("read")
        await bench.clock.sleep(0.5)
        if (error := fails.pop(0)) is not None:
            raise error
        return bench.row

    bench.read = read  # type: ignore[method-assign]
    renewing = bench.begin(held.renew())
    await bench.clock.sleep(TIMING.call_seconds + 0.2)
    held.end("restarted")
    with pytest.raises(LeaseLost, match="restarted"):
        await renewing
    assert bench.sent == ["renew", "read"]
    assert bench.row.counter == 7


@on_bench
async def test_a_processor_that_was_shut_down_in_vain_is_followed_once_no_write_of_its_tenure_is_under_way(
    bench: Bench,
) -> None:
    """The old tenure would take the new one's counter for its own late write, and move it on."""
    leases = await held_by_me(bench)
    old = leases.held["s"]
    old.throughput.delivered_bytes = 5000
    await bench.clock.sleep(3.0)
    bench.script.append(Step(applied=False))
    renewing = bench.begin(old.renew())
    await bench.clock.sleep(0.1)
    assert await OwnerSide(leases, 30.0).let_go(old, shutdown_called=True)
    leases.consumer_stopped(old)
    assert await leases.accept("s")
    await asyncio.wait([renewing])
    new = leases.held["s"]
    await new.renew()
    assert (old.over, new.over) == ("restarted", None)
    assert bench.sent == ["renew", "read", "renew", "read", "renew", "renew"]


@on_round
async def test_a_request_never_names_one_key_twice(play: Round) -> None:
    def looks(key: str) -> Steps:
        assert (yield Look(key)) is not None
        return True

    def renews(lease: Lease) -> Steps:
        assert isinstance((yield Send(verbs.renew(lease, ME), seen=lease)), Applied)
        return True

    first, second = (held.lease for held in play.hold(A, B))
    looked = await asyncio.gather(*(play.calls.join(lambda key=key: Writing(looks(key))) for key in (A, B, A)))
    assert all(each is not None and each.outcome() for each in looked)
    assert play.reads == [[A, B]]
    assert play.bench.sent.count("read") == 3
    after = Lease(key=A, owner=ME, counter=8, created_at="1")
    rows = (first, second, after)
    written = await asyncio.gather(*(play.calls.join(lambda row=row: Writing(renews(row))) for row in rows))
    assert all(each is not None and each.outcome() for each in written)
    assert [keys for _, keys in play.sent] == [[A, B], [A]]
    assert play.calls.places.taken == 0
