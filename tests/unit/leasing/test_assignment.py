"""The plan: balanced, deterministic, quiet, and never beyond limits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.assignment import (
    HAND_OFFS_TOWARDS_ONE,
    HandOff,
    LeaseView,
    Plan,
    PlanView,
    WorkerView,
    plan,
    spread,
)
from consumer.leasing.ring import share_out
from tests.simulation.scale.tally import least_moves

WORKERS = ("a", "b", "c", "d")


@st.composite
def views(draw: st.DrawFn, *, limits: bool = True, quirks: bool = True) -> PlanView:
    names = draw(st.lists(st.sampled_from(WORKERS), min_size=1, unique=True))
    most = st.none() | st.integers(1, 8) if limits else st.none()
    workers = [WorkerView(each, not quirks or draw(st.integers(0, 4)) > 0, draw(most)) for each in names]
    leases = []
    for n in range(draw(st.integers(0, 24))):
        owner = draw(st.sampled_from([None, "gone", *names]) if quirks else st.sampled_from(names))
        pending = quirks and owner is not None and draw(st.integers(0, 5)) == 0
        free = owner is None or (quirks and not pending and draw(st.integers(0, 4)) == 0)
        moves = not pending and (not quirks or draw(st.integers(0, 4)) > 0)
        leases.append(LeaseView(f"{n:02d}", owner, is_free=free, is_pending=pending, may_move=moves))
    return PlanView(leases, workers)


def loads_after(view: PlanView, made: Plan) -> Counter[str]:
    load = Counter({worker.worker_id: 0 for worker in view.workers if worker.may_receive})
    owners = {lease.key: lease.owner for lease in view.leases if not lease.is_free}
    owners |= {take.key: take.worker_id for take in made.takes} | {move.key: move.worker_id for move in made.hand_offs}
    load.update(owner for owner in owners.values() if owner in load)
    return load


def settle(view: PlanView) -> tuple[PlanView, int]:
    """Carry the plan out until it asks for nothing more."""
    for rounds in range(50):
        made = plan(view)
        if not made.takes and not made.hand_offs:
            return view, rounds
        new = {take.key: take.worker_id for take in made.takes} | {m.key: m.worker_id for m in made.hand_offs}
        leases = [
            LeaseView(each.key, new.get(each.key, each.owner), each.is_free and each.key not in new)
            for each in view.leases
        ]
        view = PlanView(leases, view.workers)
    raise AssertionError("the plan never comes to an end")


@given(views(limits=False, quirks=False))
def test_a_fleet_without_limits_is_balanced_within_one_lease(view: PlanView) -> None:
    settled, _ = settle(view)
    load = loads_after(settled, Plan())
    assert max(load.values()) - min(load.values()) <= 1


@given(views(), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_in_which_rows_and_workers_are_seen(
    view: PlanView, shuffle: random.Random
) -> None:
    leases, workers = list(view.leases), list(view.workers)
    shuffle.shuffle(leases)
    shuffle.shuffle(workers)
    assert plan(PlanView(leases, workers)) == plan(view)


@given(views())
def test_only_free_leases_are_taken_and_only_quiet_ones_of_live_workers_move(view: PlanView) -> None:
    made = plan(view)
    rows = {lease.key: lease for lease in view.leases}
    assert all(rows[take.key].is_free for take in made.takes)
    for move in made.hand_offs:
        row = rows[move.key]
        assert row.may_move
        assert not row.is_pending
        assert not row.is_free
        assert row.owner == move.owner != move.worker_id


@given(views())
def test_nothing_goes_to_a_draining_worker_or_beyond_a_limit(view: PlanView) -> None:
    made = plan(view)
    before, after = loads_after(view, Plan()), loads_after(view, made)
    limits = {worker.worker_id: worker.max_leases for worker in view.workers}
    for move in (*made.takes, *made.hand_offs):
        assert move.worker_id in after
        limit = limits[move.worker_id]
        assert limit is None or after[move.worker_id] <= max(limit, before[move.worker_id])


@given(views())
def test_at_most_four_hand_offs_are_under_way_towards_one_worker(view: PlanView) -> None:
    towards = Counter(move.worker_id for move in plan(view).hand_offs)
    under_way = Counter(lease.owner for lease in view.leases if lease.is_pending and not lease.is_free)
    for worker, count in towards.items():
        assert count + under_way[worker] <= max(HAND_OFFS_TOWARDS_ONE, under_way[worker])


@given(views(quirks=False))
def test_every_hand_off_goes_from_more_to_less(view: PlanView) -> None:
    """Catches ping-pong: a move that only swaps who has more."""
    before = loads_after(view, plan(PlanView(view.leases, view.workers[:0])))
    for move in plan(view).hand_offs:
        assert before[move.owner] > before[move.worker_id] + 1


def test_a_second_worker_costs_the_fewest_moves() -> None:
    leases = [LeaseView(f"{n:02d}", "a") for n in range(9)]
    view = PlanView(leases, [WorkerView("a"), WorkerView("b")])
    assert len(plan(view).hand_offs) == 4
    settled, rounds = settle(view)
    assert rounds == 1
    assert loads_after(settled, Plan()) == {"a": 5, "b": 4}


def test_free_leases_that_all_limits_forbid_are_named() -> None:
    view = PlanView([LeaseView("x", None, is_free=True)], [WorkerView("a", max_leases=0)])
    assert plan(view) == Plan(unplaced=("x",))


@given(st.sets(st.sampled_from("klmnopqrs")), st.dictionaries(st.sampled_from(WORKERS), st.integers(0, 6)))
def test_spread_fills_the_least_loaded_first(keys: set[str], load: dict[str, int]) -> None:
    given_to = spread(keys, load, [WorkerView(each) for each in WORKERS])
    assert set(given_to) == keys
    after = Counter({each: load.get(each, 0) for each in WORKERS}) + Counter(given_to.values())
    for worker in set(given_to.values()):
        assert after[worker] - 1 <= min(after[each] for each in WORKERS)


def owned(keys: str, by: str) -> list[LeaseView]:
    return [LeaseView(key, by, actual_owner=by) for key in keys]


def slow(key: str, by: str, to: str) -> LeaseView:
    return LeaseView(key, to, is_pending=True, may_move=False, actual_owner=by, is_slow=True)


PAIR = [WorkerView("a"), WorkerView("b")]


def test_another_lease_is_asked_for_instead_of_one_whose_batch_is_long() -> None:
    made = plan(PlanView([slow("1", "a", "b"), *owned("234", "a")], PAIR))
    assert [move.key for move in made.hand_offs] == ["2", "3"]
    assert made.take_backs == ()


def test_a_hand_off_that_waits_for_a_long_batch_is_taken_back_once_the_load_is_even_without_it() -> None:
    made = plan(PlanView([slow("1", "a", "b"), *owned("2", "a"), *owned("34", "b")], PAIR))
    assert made.take_backs == ("1",)
    assert made.hand_offs == ()


def test_a_hand_off_that_would_have_to_be_given_back_is_taken_back() -> None:
    """Asked for in place of two that waited for long batches, which have come after all."""
    coming = LeaseView("1", "b", is_pending=True, may_move=False, actual_owner="a")
    made = plan(PlanView([coming, *owned("2", "a"), *owned("34", "b")], PAIR))
    assert made == Plan(take_backs=("1",))
    assert plan(PlanView([coming, *owned("2", "a"), *owned("3", "b")], PAIR)) == Plan()
    assert plan(PlanView([coming, *owned("34", "b")], PAIR)).take_backs == ("1",)


def test_a_slow_hand_off_of_a_worker_that_leaves_is_not_taken_back() -> None:
    leaving = [WorkerView("a", may_receive=False), WorkerView("b"), WorkerView("c")]
    made = plan(PlanView([slow("1", "a", "b"), *owned("2", "c")], leaving))
    assert made == Plan()


def test_what_may_still_come_of_slow_hand_offs_keeps_its_place_below_the_limit() -> None:
    limited = [WorkerView("a"), WorkerView("b", max_leases=2)]
    made = plan(PlanView([slow("1", "a", "b"), *owned("234567", "a")], limited))
    assert [move.key for move in made.hand_offs] == ["2"]


def test_hand_offs_that_wait_for_long_batches_are_few_as_well() -> None:
    waiting = [slow(f"{n:02d}", "a", "b") for n in range(2 * HAND_OFFS_TOWARDS_ONE)]
    more = [LeaseView(f"{n:02d}", "a", actual_owner="a") for n in range(50, 90)]
    assert plan(PlanView([*waiting[:-1], *more], PAIR)).hand_offs == (HandOff("50", "a", "b"),)
    assert plan(PlanView([*waiting, *more], PAIR)).hand_offs == ()


# -- the same view gives the same plan, and nearly the same view nearly the same


def takers(leases: Sequence[LeaseView], workers: Sequence[WorkerView]) -> dict[str, str]:
    return {take.key: take.worker_id for take in plan(PlanView(leases, workers)).takes}


@given(views())
def test_a_plan_changes_nothing_of_its_view_and_comes_out_the_same_again(view: PlanView) -> None:
    leases, workers = list(view.leases), list(view.workers)
    assert plan(view) == plan(PlanView(leases, workers))
    assert (leases, workers) == (view.leases, view.workers)


@given(views(limits=False, quirks=False))
def test_a_fleet_comes_to_rest_in_the_fewest_moves_that_balance_it(view: PlanView) -> None:
    load = loads_after(view, Plan())
    settled, _ = settle(view)
    owners = {lease.key: lease.owner for lease in view.leases}
    moved = sum(lease.owner != owners[lease.key] for lease in settled.leases)
    assert moved == least_moves(load, sum(owner is None for owner in owners.values()))


@given(views(quirks=False), st.randoms(use_true_random=False))
def test_what_some_have_taken_as_planned_leaves_the_rest_of_the_plan_as_it_is(
    view: PlanView, chosen: random.Random
) -> None:
    """Who has seen a peer's take and who has not yet mean the same taker for every other lease."""
    planned = takers(view.leases, view.workers)
    taken = {key: worker for key, worker in planned.items() if chosen.random() < 0.5}
    seen = [LeaseView(each.key, taken[each.key]) if each.key in taken else each for each in view.leases]
    assert takers(seen, view.workers) == {key: worker for key, worker in planned.items() if key not in taken}


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_dead_workers_leases_have_one_taker_each_whichever_are_seen_expired(
    peers: int, dead_has: int, others_have: int, chosen: random.Random
) -> None:
    workers = [WorkerView("dead"), *(WorkerView(f"w{n}") for n in range(peers))]
    others = [
        LeaseView(f"k{n:02d}", owner, actual_owner=owner) for n in range(others_have) for owner in [f"w{n % peers}"]
    ]
    gone = [LeaseView(f"d{n:02d}", "dead", is_free=True, actual_owner="dead") for n in range(dead_has)]
    expired = chosen.sample(range(dead_has), chosen.randint(1, dead_has))
    some = [each if n in expired else each._replace(is_free=False) for n, each in enumerate(gone)]
    last = takers([*others, *gone], workers)
    assert takers([*others, *some], workers) == {gone[n].key: last[gone[n].key] for n in expired}


@pytest.mark.parametrize("seed", range(20))
def test_a_lease_more_or_less_seen_somewhere_changes_few_takers(seed: int) -> None:
    """Dealt out in turns all that follows would shift by one, and what two workers leave to each other nobody takes."""
    draw = random.Random(seed)
    workers = [WorkerView(f"w{n}-{draw.random()}") for n in range(20)]
    names = [worker.worker_id for worker in workers]
    held = [LeaseView(f"held-{n:03d}", name, actual_owner=name) for n in range(400) for name in [names[n % 20]]]
    free = [LeaseView(f"free-{n:03d}", None, is_free=True) for n in range(60)]
    before = takers([*held, *free], workers)
    out_of_plan = held[0]._replace(key=draw.choice(free).key, owner=draw.choice(names))
    after = takers([*held, out_of_plan, *(each for each in free if each.key != out_of_plan.key)], workers)
    fewer = takers([*held[1:], *free], workers)
    assert sum(before[key] != worker for key, worker in after.items()) <= 12
    assert sum(before[key] != worker for key, worker in fewer.items()) <= 12


def test_what_will_be_free_soon_takes_no_place_from_what_is_free() -> None:
    dead = [LeaseView("1", "dead", actual_owner="dead"), LeaseView("2", "dead", is_free=True, actual_owner="dead")]
    assert takers(dead, [WorkerView("dead"), WorkerView("a", max_leases=1)]) == {"2": "a"}


@given(st.sets(st.sampled_from("klmnopqrstuv")), st.dictionaries(st.sampled_from(WORKERS), st.integers(-2, 4)))
def test_leases_are_shared_out_as_far_as_there_is_room(keys: set[str], room: dict[str, int]) -> None:
    taker = share_out(sorted(keys), room)
    assert list(taker) == sorted(keys)[: sum(max(0, count) for count in room.values())]
    assert all(count <= room[worker] for worker, count in Counter(taker.values()).items())


def test_every_process_knows_the_same_ring() -> None:
    """Python's own hashes differ from process to process."""
    room = dict.fromkeys(WORKERS, 2)
    assert share_out("klmnop", room) == {"k": "d", "l": "a", "m": "d", "n": "a", "o": "c", "p": "b"}
