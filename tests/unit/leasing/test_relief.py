"""Leases that move for what they weigh: few, never in a circle, and none where no weight is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.assignment import HAND_OFFS_TOWARDS_ONE, HandOff, LeaseView, PlanView, WorkerView, plan
from consumer.leasing.relief import Weights, relieve

WORKERS = ("a", "b", "c", "d")


def weighed(
    leases: Mapping[str, tuple[str, float]],
    workers: str = "abc",
    *,
    stays: str = "",
    closed: str = "",
    **weights: object,
) -> PlanView:
    """``leases``: owner and weight by key; ``stays``: whose load has stayed beyond the band."""
    load = dict.fromkeys(workers, 0.0)
    for owner, weight in leases.values():
        load[owner] += weight
    mean = sum(load.values()) / len(load)
    made = Weights(
        workers=load,
        leases={key: weight for key, (_, weight) in leases.items()},
        mean=mean,
        enough=1.1 * mean,
        excess={name: load[name] - mean for name in stays},
        closed=frozenset(stays + closed),
    )
    views = [LeaseView(key, owner, actual_owner=owner) for key, (owner, _) in leases.items()]
    return PlanView(views, [WorkerView(name) for name in workers], replace(made, **weights))  # type: ignore[arg-type]


UNEVEN = {"1": ("a", 9.0), "2": ("a", 10.0), "3": ("b", 1.0), "4": ("b", 1.0)}


def test_the_heaviest_that_leaves_no_more_than_it_brings_goes_to_who_bears_least() -> None:
    assert plan(weighed(UNEVEN, "ab", stays="a")).hand_offs == (HandOff("1", "a", "b"),)
    three = UNEVEN | {"5": ("c", 0.5), "6": ("c", 0.5)}
    assert plan(weighed(three, stays="a")).hand_offs == (HandOff("1", "a", "c"),)


def test_nothing_moves_for_weight_before_it_has_stayed_beyond_the_band_nor_while_numbers_are_uneven() -> None:
    assert plan(weighed(UNEVEN, "ab")).hand_offs == ()
    crowded = UNEVEN | {"5": ("b", 1.0), "6": ("b", 1.0), "7": ("b", 0.0)}
    moves = plan(weighed(crowded, "abc", stays="a")).hand_offs
    assert {(move.owner, move.worker_id) for move in moves} == {("b", "c")}


def test_a_lease_that_is_all_the_trouble_stays_where_it_is() -> None:
    assert plan(weighed({"1": ("a", 10.0), "2": ("b", 1.0), "3": ("a", 0.0)}, "ab", stays="a")).hand_offs == ()


def test_leases_that_weigh_next_to_nothing_do_not_move() -> None:
    light = {f"{n}": ("a", 0.001) for n in range(5)} | {f"h{n}": ("b", 0.5) for n in range(5)}
    assert plan(weighed({"1": ("a", 10.0), "x": ("b", 0.5)} | light, "ab", stays="a")).hand_offs == ()


def test_after_the_first_a_part_of_the_excess_is_enough_for_one_time() -> None:
    many = {f"{n:02d}": ("a", 1.0) for n in range(20)} | {f"b{n:02d}": ("b", 0.0) for n in range(20)}
    moves = plan(weighed(many, "ab", stays="a")).hand_offs
    assert len(moves) == HAND_OFFS_TOWARDS_ONE
    fewer = {key: (owner, weight) for key, (owner, weight) in many.items() if key[-2:] < "10"}
    assert len(plan(weighed(fewer, "ab", stays="a")).hand_offs) == 3  # of an excess of 5


def test_resting_leases_stay() -> None:
    assert plan(weighed(UNEVEN, "ab", stays="a", resting=frozenset({"1"}))).hand_offs == ()


def test_what_a_relieved_worker_has_fewer_in_number_is_not_given_back_to_it() -> None:
    relieved = {"1": ("b", 9.0), "2": ("a", 10.0), "3": ("b", 1.0), "4": ("b", 1.0)}
    assert plan(weighed(relieved, "ab", closed="a")).hand_offs == ()
    assert plan(weighed(relieved, "ab")).hand_offs == (HandOff("3", "b", "a"),), "once cooled: what it can bear"


def test_free_leases_go_to_others_unless_nobody_else_has_room() -> None:
    view = weighed(UNEVEN, "ab", stays="a")
    free = [*view.leases, LeaseView("9", None, is_free=True)]
    assert [take.worker_id for take in plan(replace(view, leases=free)).takes] == ["b"]
    full = [WorkerView("a"), WorkerView("b", max_leases=2)]
    assert [take.worker_id for take in plan(replace(view, leases=free, workers=full)).takes] == ["a"]


def test_numbers_are_evened_out_with_leases_that_the_receiver_can_bear() -> None:
    leases = {"1": ("a", 20.0), "2": ("a", 1.0), "3": ("a", 1.0), "4": ("b", 15.0)}
    assert plan(weighed(leases, "ab")).hand_offs == (HandOff("2", "a", "b"),)


def test_who_can_bear_no_lease_leaves_them_to_others() -> None:
    """One machine may be busy with something else, and have no lease."""
    view = weighed({f"{n}": ("a", 5.0) for n in range(4)}, "abc")
    assert view.weights is not None
    busy = replace(view.weights, workers={"a": 20.0, "b": 30.0, "c": 0.0}, mean=16.7, enough=18.3)
    assert {move.worker_id for move in plan(replace(view, weights=busy)).hand_offs} == {"c"}


def test_a_heavy_lease_moves_for_numbers_where_that_makes_the_heaviest_load_lighter() -> None:
    assert plan(weighed({"1": ("a", 60.0), "2": ("a", 60.0)}, "abc")).hand_offs == (HandOff("1", "a", "b"),)


def test_a_hand_off_for_weight_is_not_taken_back_for_the_sake_of_numbers() -> None:
    slow = LeaseView("1", "b", is_pending=True, may_move=False, actual_owner="a", is_slow=True)
    view = weighed({"2": ("a", 10.0), "3": ("b", 1.0)}, "ab", closed="a")
    assert plan(replace(view, leases=[slow, *view.leases])).take_backs == ()
    assert plan(replace(view, leases=[slow, *view.leases], weights=None)).take_backs == ("1",)
    quick = [slow._replace(is_slow=False), *view.leases, LeaseView("4", "b", actual_owner="b")]
    assert plan(replace(view, leases=quick)).take_backs == ()
    assert plan(replace(view, leases=quick, weights=None)).take_backs == ("1",)


@st.composite
def fleets(draw: st.DrawFn) -> PlanView:
    names = draw(st.lists(st.sampled_from(WORKERS), min_size=1, unique=True))
    most = st.none() | st.integers(1, 8)
    workers = [WorkerView(each, draw(st.integers(0, 4)) > 0, draw(most)) for each in names]
    leases, weights = [], {}
    for n in range(draw(st.integers(0, 20))):
        key, owner = f"{n:02d}", draw(st.sampled_from([None, "gone", *names]))
        is_free = owner is None or draw(st.integers(0, 4)) == 0
        leases.append(LeaseView(key, owner, is_free, may_move=draw(st.integers(0, 4)) > 0, actual_owner=owner))
        weights[key] = draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 20.0]))
    return PlanView(leases, workers, Weights(dict.fromkeys(names, 0.0), weights, 1.0, 1.1))


def weighed_again(view: PlanView, was_closed: frozenset[str]) -> PlanView:
    """As the watch would judge loads without noise, time standing still between two looks."""
    assert view.weights is not None
    load = dict.fromkeys((worker.worker_id for worker in view.workers), 0.0)
    for lease in view.leases:
        if lease.owner in load:
            load[lease.owner] += view.weights.leases[lease.key]
    mean = sum(load.values()) / len(load)
    hot = {name: bears - mean for name, bears in load.items() if bears > 1.2 * mean and bears > 0.0}
    closed = frozenset(hot) | was_closed
    return replace(view, weights=Weights(load, view.weights.leases, mean, 1.1 * mean, hot, closed))


@given(fleets())
def test_a_fleet_comes_to_rest_and_each_move_for_weight_makes_the_heavier_of_two_lighter(view: PlanView) -> None:
    view = weighed_again(view, frozenset())
    for _ in range(60):
        made = plan(view)
        if not made.takes and not made.hand_offs:
            return
        assert view.weights is not None
        if not made.takes:
            before = view.weights.workers
            after = Counter(before)
            for move in made.hand_offs:
                after[move.owner] -= view.weights.leases[move.key]
                after[move.worker_id] += view.weights.leases[move.key]
            for move in made.hand_offs:
                worst = max(before[move.owner], view.weights.enough)
                assert after[move.worker_id] <= worst + 1e-9
        new = {take.key: take.worker_id for take in made.takes} | {m.key: m.worker_id for m in made.hand_offs}
        leases = [
            each._replace(owner=new[each.key], actual_owner=new[each.key], is_free=False) if each.key in new else each
            for each in view.leases
        ]
        view = weighed_again(replace(view, leases=leases), view.weights.closed)
    raise AssertionError("the plan never comes to an end")


@given(fleets())
def test_what_is_known_of_weights_leaves_no_lease_waiting_that_numbers_would_place(view: PlanView) -> None:
    heavy = weighed_again(view, frozenset())
    by_number = plan(replace(view, weights=None))
    made = plan(heavy)
    assert len(made.takes) == len(by_number.takes)
    limits = {worker.worker_id: worker.max_leases for worker in view.workers}
    load = Counter(lease.owner for lease in view.leases if not lease.is_free)
    after = load + Counter(take.worker_id for take in made.takes)
    for worker_id, limit in limits.items():
        assert limit is None or after[worker_id] <= max(limit, load[worker_id])


@given(fleets())
def test_while_nobody_bears_too_much_the_plan_is_that_by_number(view: PlanView) -> None:
    assert view.weights is not None
    light = replace(view, weights=replace(view.weights, enough=math.inf))
    assert plan(light) == plan(replace(view, weights=None))


def test_a_receiver_without_a_place_gets_nothing() -> None:
    weights = Weights({"a": 10.0, "b": 0.0, "c": 1.0}, {"1": 3.0}, 4.0, 5.0, {"a": 6.0}, frozenset("a"))
    assert relieve({"a": ["1"]}, {"b": 0, "c": 1}, weights) == [("1", "a", "c")]
    assert relieve({"a": ["1"]}, {"b": 0, "c": 0}, weights) == []
