"""One tenure: every way in which a write may come out, and what it does to trust."""

from __future__ import annotations

import asyncio

import pytest

from consumer.errors import LeaseLost
from consumer.hooks import LeaseRefused, Throttled
from consumer.leasing.timing import LeaseTiming
from lease_store import verbs
from lease_store.checkpoint import Checkpoint
from lease_store.errors import LeaseTableThrottled, LeaseTableUnreachable
from tests.unit.leasing.scripted_store import ME, Bench, Step, on_bench

TRUST = 9.0  # failover 10 s less a margin of 1 s


@on_bench
async def test_trust_runs_from_the_send_and_not_from_the_reply(bench: Bench) -> None:
    held = bench.hold()
    await bench.clock.sleep(3.0)
    sent = bench.clock.monotonic()
    bench.script.append(Step(seconds=1.5))
    await held.renew()
    assert held.trusted_until == sent + TRUST
    assert held.renewed_at == sent


@on_bench
async def test_the_margin_is_kept_from_the_first_moment(bench: Bench) -> None:
    held = bench.hold()
    assert held.trusted_until == bench.clock.monotonic() + TRUST


@on_bench
async def test_a_refusal_ends_the_tenure_and_shows_the_new_owner(bench: Bench) -> None:
    held = bench.hold()
    bench.other(lambda lease: verbs.take(lease, "thief"))
    with pytest.raises(LeaseLost, match="thief"):
        await held.renew()
    assert held.over == "lost"
    assert held.trusted_until < bench.clock.monotonic()
    assert bench.sent == ["renew"]
    assert LeaseRefused("s", "renew") in bench.facts
    with pytest.raises(LeaseLost):
        await held.renew()
    assert bench.sent == ["renew"]


@on_bench
async def test_a_lost_tenure_refuses_a_checkpoint_as_lost_even_below_the_new_owners(bench: Bench) -> None:
    held = bench.hold()
    bench.other(lambda lease: verbs.take(lease, "thief"))
    bench.other(lambda lease: verbs.set_checkpoint(lease, "thief", Checkpoint("9")))
    with pytest.raises(LeaseLost):
        await held.renew()
    with pytest.raises(LeaseLost):
        await held.checkpoint(Checkpoint("5"))


@on_bench
async def test_an_unknown_write_that_stands_is_adopted_with_trust_from_its_send(bench: Bench) -> None:
    held = bench.hold()
    sent = bench.clock.monotonic()
    bench.script.append(Step(lost=True))
    await held.checkpoint(Checkpoint("5"))
    assert bench.sent == ["set_checkpoint", "read"]
    assert held.lease.checkpoint == Checkpoint("5")
    assert held.trusted_until == sent + TRUST


@on_bench
async def test_an_unknown_write_that_does_not_stand_is_sent_again(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(applied=False))
    began = bench.clock.monotonic()
    await held.checkpoint(Checkpoint("5"))
    assert bench.sent == ["set_checkpoint", "read", "set_checkpoint"]
    assert bench.row.checkpoint == Checkpoint("5")
    assert bench.row.counter == 8
    assert held.trusted_until == began + LeaseTiming(10.0).call_seconds + TRUST  # the second send, plainly applied


@on_bench
async def test_a_settled_write_extends_trust_no_further_than_the_oldest_unsettled_send(bench: Bench) -> None:
    """Two sends of one renewal, both replies lost: which of them was applied can't be told."""
    held = bench.hold()
    first = bench.clock.monotonic()
    bench.script.extend([Step(applied=False, late=2.5), Step(applied=False)])
    await held.renew()
    assert bench.sent == ["renew", "read", "renew", "read"]
    assert held.trusted_until == first + TRUST


@on_bench
async def test_an_earlier_write_that_comes_late_gives_its_counter_and_the_write_goes_again(bench: Bench) -> None:
    """A checkpoint refused after a late renewal whose reply was lost: no loss, it is read, taken over, written."""
    held = bench.hold()
    bench.script.extend([Step(applied=False, late=2.05), Step(error=LeaseTableThrottled())])
    with pytest.raises(LeaseTableThrottled):
        await held.renew()
    await bench.clock.sleep(1.0)
    assert bench.row.counter == 8
    await held.checkpoint(Checkpoint("5"))
    assert bench.sent == ["renew", "read", "renew", "set_checkpoint", "read", "set_checkpoint"]
    assert held.over is None
    assert held.lease == bench.row
    assert bench.row.counter == 9


@on_bench
async def test_a_reply_after_its_own_trust_revives_nothing(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(seconds=9.5))
    with pytest.raises(LeaseLost):
        await held.renew()
    assert held.over == "expired"


@on_bench
async def test_no_write_is_sent_without_trust(bench: Bench) -> None:
    held = bench.hold()
    await bench.clock.sleep(TRUST)
    with pytest.raises(LeaseLost):
        await held.renew()
    assert bench.sent == []
    assert held.over == "expired"


@on_bench
async def test_a_finish_ends_trust_at_its_send_whatever_comes_back(bench: Bench) -> None:
    held = bench.hold(owner="next", checkpoint_owner=ME)
    bench.script.append(Step(seconds=1.0))
    finishing = asyncio.ensure_future(held.finish_hand_off())
    await bench.clock.sleep(0.1)
    assert held.trusted_until < bench.clock.monotonic()
    await finishing
    assert held.over == "handed_off"
    assert (bench.row.owner, bench.row.checkpoint_owner) == ("next", None)


@on_bench
async def test_a_release_ends_trust_at_its_send(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(seconds=1.0))
    releasing = asyncio.ensure_future(held.release())
    await bench.clock.sleep(0.1)
    assert held.trusted_until < bench.clock.monotonic()
    await releasing
    assert held.over == "released"
    assert bench.row.owner is None


@pytest.mark.parametrize("error", [LeaseTableThrottled(), LeaseTableUnreachable()])
def test_a_finish_that_was_not_applied_restores_the_tenure(error: Exception) -> None:
    async def test(bench: Bench) -> None:
        held = bench.hold(owner="next", checkpoint_owner=ME)
        trusted_until = held.trusted_until
        bench.script.append(Step(error=error))
        with pytest.raises(type(error)):
            await held.finish_hand_off()
        assert held.over is None
        assert held.trusted_until == trusted_until
        await held.renew()

    on_bench(test)()


@on_bench
async def test_a_finish_that_was_not_applied_ends_it_all_the_same_where_an_earlier_sending_may_arrive(
    bench: Bench,
) -> None:
    held = bench.hold(owner="next", checkpoint_owner=ME)
    bench.script.extend([Step(applied=False), Step(error=LeaseTableThrottled())])
    with pytest.raises(LeaseLost):
        await held.finish_hand_off()
    assert held.over == "expired"


@on_bench
async def test_a_finish_with_nothing_pending_any_more_leaves_the_tenure_its_trust(bench: Bench) -> None:
    """A take-back that was thought lost arrives before the finish: trust left at -inf would spin the renewing task."""
    held = bench.hold(owner="next", checkpoint_owner=ME)
    bench.script.extend([Step(applied=False, late=2.05), Step(error=LeaseTableThrottled())])
    with pytest.raises(LeaseTableThrottled):
        await held.take_back("next")
    await bench.clock.sleep(1.0)
    trusted_until = held.trusted_until
    await held.finish_hand_off()
    assert held.over is None
    assert held.trusted_until == trusted_until
    assert held.hand_off_to is None
    assert bench.changes[-1] is held


@on_bench
async def test_a_lease_that_went_and_came_back_while_a_finish_was_unsettled_is_another_tenure(bench: Bench) -> None:
    """Simulation seed 20063: the row named me again, and the old tenure went on from its old position."""
    held = bench.hold(owner="next", checkpoint_owner=ME)

    def went_and_came_back() -> None:
        bench.other(lambda lease: verbs.set_checkpoint(lease, "next", Checkpoint("19")))
        bench.other(lambda lease: verbs.start_hand_off(lease, ME))
        bench.other(lambda lease: verbs.finish_hand_off(lease, "next"))

    bench.script.append(Step(lost=True))
    asyncio.get_running_loop().call_later(1.0, went_and_came_back)
    with pytest.raises(LeaseLost):
        await held.finish_hand_off()
    assert held.over == "lost"
    assert bench.row.owner == ME


@on_bench
async def test_a_refused_release_whose_second_form_is_throttled_leaves_the_trust_there_was(bench: Bench) -> None:
    held = bench.hold()
    trusted_until = held.trusted_until
    bench.other(lambda lease: verbs.start_hand_off(lease, "b"))
    bench.script.extend([Step(), Step(error=LeaseTableThrottled())])
    with pytest.raises(LeaseTableThrottled):
        await held.release()
    assert held.trusted_until == trusted_until
    await held.release()
    assert held.over == "handed_off"


@on_bench
async def test_a_release_against_a_start_becomes_a_finish(bench: Bench) -> None:
    held = bench.hold()
    bench.other(lambda lease: verbs.start_hand_off(lease, "next"))
    await held.release()
    assert bench.sent == ["release", "finish_hand_off"]
    assert held.over == "handed_off"
    assert bench.row.owner == "next"


@on_bench
async def test_a_start_against_a_pending_row_changes_nothing(bench: Bench) -> None:
    held = bench.hold(owner="next", checkpoint_owner=ME)
    await held.start_hand_off("another")
    assert bench.sent == []
    assert bench.row.owner == "next"


@on_bench
async def test_a_start_by_a_peer_is_learnt_from_the_next_reply(bench: Bench) -> None:
    held = bench.hold()
    bench.other(lambda lease: verbs.start_hand_off(lease, "next"))
    assert held.hand_off_to is None
    await held.checkpoint(Checkpoint("3"))
    assert held.hand_off_to == "next"
    assert bench.changes == [held]


@on_bench
async def test_a_start_extends_no_trust(bench: Bench) -> None:
    held = bench.hold()
    trusted_until = held.trusted_until
    await bench.clock.sleep(1.0)
    await held.start_hand_off("next")
    assert held.trusted_until == trusted_until
    assert bench.row.counter == 7


@on_bench
async def test_a_take_back_keeps_the_tenure_and_leaves_its_mark(bench: Bench) -> None:
    held = bench.hold(owner="next", checkpoint_owner=ME)
    await held.take_back("next")
    assert (bench.row.owner, bench.row.checkpoint_owner, bench.row.taken_back) == (ME, None, 8)
    assert held.over is None


@on_bench
async def test_a_hand_off_to_another_than_was_meant_is_not_taken_back(bench: Bench) -> None:
    held = bench.hold(owner="next", checkpoint_owner=ME)
    await held.take_back("before")
    assert bench.row.owner == "next"


@on_bench
async def test_a_checkpoint_saves_the_renewal(bench: Bench) -> None:
    held = bench.hold()
    await bench.clock.sleep(3.0)
    await held.checkpoint(Checkpoint("3"))
    await held.renew_if_due()
    assert bench.sent == ["set_checkpoint"]


@on_bench
async def test_a_checkpoint_never_goes_back(bench: Bench) -> None:
    held = bench.hold()
    await held.checkpoint(Checkpoint("30"))
    with pytest.raises(LeaseLost, match="moved forward to 30"):
        await held.checkpoint(Checkpoint("4"))
    assert bench.sent == ["set_checkpoint"]
    assert held.over == "restarted"


@on_bench
async def test_one_write_is_in_flight_at_a_time(bench: Bench) -> None:
    held = bench.hold()
    bench.script.extend([Step(seconds=1.0), Step(seconds=1.0)])
    both = asyncio.gather(held.renew(), held.checkpoint(Checkpoint("3")))
    await bench.clock.sleep(0.5)
    assert bench.sent == ["renew"]
    await both
    assert bench.row.counter == 9


@on_bench
async def test_throttles_are_told_and_cost_no_trust(bench: Bench) -> None:
    held = bench.hold()
    trusted_until = held.trusted_until
    bench.script.append(Step(error=LeaseTableThrottled()))
    with pytest.raises(LeaseTableThrottled):
        await held.renew()
    assert bench.facts == [Throttled("s", "renew")]
    assert held.trusted_until == trusted_until


@on_bench
async def test_the_end_of_the_shard_ends_the_tenure_and_names_the_children(bench: Bench) -> None:
    held = bench.hold(owner="next", checkpoint_owner=ME)
    await held.end_shard(("c1", "c2"))
    assert held.over == "ended"
    assert bench.row.is_finished
    assert bench.row.children == ("c1", "c2")
    assert bench.row.checkpoint_owner is None


@on_bench
async def test_a_take_at_the_same_counter_is_not_taken_for_a_renewal_whose_reply_was_lost(bench: Bench) -> None:
    """Simulation seed 31156: the thief's row has the very counter that the renewal would have written."""
    held = bench.hold()
    bench.script.append(Step(applied=False))
    asyncio.get_running_loop().call_later(1.0, bench.other, lambda lease: verbs.take(lease, "thief"))
    with pytest.raises(LeaseLost):
        await held.renew()
    assert held.over == "lost"
    assert held.trusted_until < bench.clock.monotonic()


@on_bench
async def test_an_end_that_arrives_late_is_not_taken_for_a_renewal(bench: Bench) -> None:
    """Simulation seed 20216: both write the same counter; the renewed tenure then checkpointed over SHARD_END."""
    held = bench.hold()
    bench.script.extend([Step(applied=False, late=2.05), Step(error=LeaseTableThrottled())])
    with pytest.raises(LeaseTableThrottled):
        await held.end_shard(())
    await bench.clock.sleep(1.0)
    assert bench.row.is_finished
    bench.sent.clear()
    await held.renew()
    assert held.over == "ended"
    assert bench.row.counter == 8
    await held.end_shard(())  # asked again: it is done
    assert bench.sent == ["renew", "read"]


@on_bench
async def test_a_row_made_anew_is_a_loss_even_at_the_same_counter(bench: Bench) -> None:
    held = bench.hold()
    bench.put_item({**(bench.get("s") or {}), "leaseholdCreatedAt": {"S": "2"}, "leaseCounter": {"N": "9"}})
    with pytest.raises(LeaseLost):
        await held.renew()


@on_bench
async def test_a_reply_for_a_tenure_that_was_ended_meanwhile_gives_it_no_trust(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(seconds=1.0))
    renewing = asyncio.ensure_future(held.renew())
    await bench.clock.sleep(0.5)
    held.end("restarted")
    await renewing
    assert held.trusted_until < bench.clock.monotonic()


@on_bench
async def test_a_failure_for_a_tenure_that_was_ended_meanwhile_gives_it_no_trust(bench: Bench) -> None:
    held = bench.hold()
    bench.script.append(Step(seconds=1.0, error=LeaseTableThrottled()))
    renewing = asyncio.ensure_future(held.renew())
    await bench.clock.sleep(0.5)
    held.end("restarted")
    with pytest.raises(LeaseTableThrottled):
        await renewing
    assert held.trusted_until < bench.clock.monotonic()
