"""How a leader judges loads over minutes: patiently, by the right signal, and so that a fleet comes to rest."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

import pytest

from consumer.leasing.load import LoadWatch, cpu_of
from consumer.leasing.relief import Weights
from lease_store.checkpoint import SHARD_END
from lease_store.lease import Lease
from tests.unit.leasing.led_fleet import LedFleet


def test_cpu_of_a_worker_is_averaged_as_the_kcls_leader_does() -> None:
    assert cpu_of((80.0,)) == 80.0
    assert cpu_of((80.0, 40.0, 20.0)) == 40.0
    assert cpu_of((80.0, -1.0, 40.0, -1.0)) == 60.0
    assert cpu_of((-1.0, -1.0)) is None
    assert cpu_of(()) is None


def row(key: str, owner: str, kbps: float | None = None, **fields: str) -> Lease:
    return Lease(key=key, owner=owner, throughput_kbps=None if kbps is None else Decimal(str(kbps)), **fields)  # type: ignore[arg-type]


NO_CPU: Mapping[str, float | None] = {"a": None, "b": None}
UNEVEN = [row("1", "a", 3_000.0), row("2", "b", 1_000.0)]


def watched(
    rows: list[Lease], cpu: Mapping[str, float | None], seconds: float, watch: LoadWatch | None = None
) -> Weights:
    """What is judged after loads have stood for that long."""
    watch = watch or LoadWatch()
    weights = watch.see(rows, cpu, 0.0)
    for now in range(1, int(seconds) + 1):
        weights = watch.see(rows, cpu, float(now))
    assert weights is not None
    return weights


def test_a_load_counts_once_it_has_stayed_beyond_the_band_for_two_minutes() -> None:
    assert watched(UNEVEN, NO_CPU, 119.0).excess == {}
    weights = watched(UNEVEN, NO_CPU, 120.0)
    assert weights.excess == {"a": 1_000.0}
    assert weights.closed == {"a"}
    assert weights.workers == {"a": 3_000.0, "b": 1_000.0}


def test_within_the_band_and_where_little_is_carried_nobody_bears_too_much() -> None:
    assert watched([row("1", "a", 1_150.0), row("2", "b", 850.0)], NO_CPU, 200.0).excess == {}
    little = watched([row("1", "a", 400.0), row("2", "b", 10.0)], NO_CPU, 200.0)
    assert little.excess == {}
    assert little.enough == 205.0 + 256.0


def test_cpu_counts_where_every_live_worker_publishes_it_and_throughput_otherwise() -> None:
    cpu = {"a": 90.0, "b": 30.0}
    weights = watched(UNEVEN, cpu, 120.0)
    assert weights.excess == {"a": 30.0}
    assert weights.leases == {"1": 90.0, "2": 30.0}
    assert watched(UNEVEN, cpu | {"c": None}, 120.0).workers == {"a": 3_000.0, "b": 1_000.0, "c": 0.0}
    assert watched(UNEVEN, {"a": 45.0, "b": 5.0}, 120.0).excess == {}, "half of its CPU is idle"


def test_a_lease_has_its_part_of_its_owners_cpu_by_throughput() -> None:
    rows = [row("1", "a", 3_000.0), row("2", "a", 1_000.0), row("3", "b", 100.0), row("4", "b")]
    weights = watched(rows, {"a": 80.0, "b": 20.0}, 0.0)
    assert weights.leases["1"] == 60.0
    assert weights.leases["2"] == 20.0
    assert weights.leases["4"] > weights.leases["3"], "nothing is known of it: as much as the average"
    quiet = watched([row("1", "a", 0.01), row("2", "b", 50.0)], {"a": 95.0, "b": 5.0}, 0.0)
    assert quiet.leases["1"] == 0.0, "its owner is busy with something else"


def test_nothing_is_weighed_where_nothing_is_known_or_nobody_is_there_to_compare_with() -> None:
    assert LoadWatch().see([row("1", "a"), row("2", "b")], {"a": 90.0, "b": 5.0}, 0.0) is None
    assert LoadWatch().see(UNEVEN, {"a": None}, 0.0) is None
    assert LoadWatch().see([], NO_CPU, 0.0) is None


def test_finished_leases_and_those_of_the_dead_weigh_nothing_for_the_living() -> None:
    rows = [*UNEVEN, row("3", "a", 9_000.0, checkpoint=SHARD_END), row("4", "dead", 9_000.0)]  # type: ignore[arg-type]
    assert watched(rows, NO_CPU, 0.0).workers == {"a": 3_000.0, "b": 1_000.0}


def test_while_leases_come_and_go_the_time_begins_anew() -> None:
    """Its load will be another; what was measured before says nothing of it."""
    watch = LoadWatch()
    watched(UNEVEN, NO_CPU, 100.0, watch)
    pending = [*UNEVEN, row("3", "b", 10.0, checkpoint_owner="a")]
    for now in (101.0, 130.0, 219.0):
        weights = watch.see(pending if now == 101.0 else UNEVEN, NO_CPU, now)
        assert weights is not None
        assert weights.excess == {}
    assert watch.see(UNEVEN, NO_CPU, 221.0).excess  # type: ignore[union-attr]


def test_a_lease_that_moved_rests_for_five_minutes() -> None:
    watch = LoadWatch()
    assert watch.see(UNEVEN, NO_CPU, 0.0).resting == frozenset()  # type: ignore[union-attr]
    moved = [row("1", "b", 3_000.0), UNEVEN[1]]
    assert watch.see(moved, NO_CPU, 10.0).resting == {"1"}  # type: ignore[union-attr]
    assert watch.see(moved, NO_CPU, 309.0).resting == {"1"}  # type: ignore[union-attr]
    assert watch.see(moved, NO_CPU, 311.0).resting == frozenset()  # type: ignore[union-attr]
    assert watch.see(moved, {"a": None, "c": None}, 400.0).resting == frozenset()  # type: ignore[union-attr]
    taken_over = [row("1", "c", 3_000.0), row("2", "c", 1_000.0)]
    assert watch.see(taken_over, {"a": None, "c": None}, 401.0).resting == frozenset()  # type: ignore[union-attr]


def test_who_bore_too_much_is_given_nothing_until_it_has_been_cool_for_a_quarter_of_an_hour() -> None:
    watch = LoadWatch()
    watched(UNEVEN, NO_CPU, 120.0, watch)
    even, cool = [row("1", "a", 1_000.0), UNEVEN[1]], [row("1", "a", 500.0), UNEVEN[1]]
    for now in range(121, 5_000):
        weights = watch.see(even, NO_CPU, float(now))
    assert weights is not None
    assert weights.closed == {"a"}
    assert weights.excess == {}
    for now in range(5_000, 7_000):
        weights = watch.see(cool, NO_CPU, float(now))
    assert weights is not None
    assert weights.closed == frozenset()


# -- hours of a fleet whose leader plans by noisy loads


WORKERS = [f"w{n}" for n in range(4)]
KEYS = [f"k{n:02d}" for n in range(20)]
DEALT = {key: WORKERS[n % 4] for n, key in enumerate(KEYS)}
HOUR = 3_600.0


def mostly_by_one(fleet: LedFleet) -> int:
    return max(Counter(key for _, key, _, _ in fleet.moves).values(), default=0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("cost", [None, 0.03], ids=["throughput", "cpu"])
def test_an_even_fleet_never_moves_a_lease_for_noise(cost: float | None, seed: int) -> None:
    even = dict.fromkeys(KEYS, 500.0)
    fleet = LedFleet(even, dict.fromkeys(WORKERS, cost), owners=DEALT, noise=0.5, seed=seed)
    fleet.run(4 * HOUR)
    assert fleet.moves == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cost", [None, 0.03], ids=["throughput", "cpu"])
def test_an_uneven_fleet_gets_better_in_few_moves_and_comes_to_rest(cost: float | None, seed: int) -> None:
    draw = random.Random(seed)
    skewed = {key: 100.0 * draw.paretovariate(1.2) for key in KEYS}
    fleet = LedFleet(skewed, dict.fromkeys(WORKERS, cost), owners=DEALT, seed=seed)
    before = max(fleet.load().values())
    fleet.run(3 * HOUR)
    few = len(fleet.moves)
    assert few <= 12
    assert mostly_by_one(fleet) <= 2
    fleet.run(3 * HOUR)
    assert len(fleet.moves) - few <= 1, "it goes round in a circle"
    heaviest = max(skewed.values())
    mean = sum(skewed.values()) / 4
    assert max(fleet.load().values()) <= max(min(before, 1.35 * mean), 1.2 * heaviest)


def test_one_hot_worker_is_relieved_within_minutes_and_keeps_what_is_its_own() -> None:
    hot = {key: 2_000.0 if DEALT[key] == "w0" else 200.0 for key in KEYS}
    fleet = LedFleet(hot, dict.fromkeys(WORKERS, None), owners=DEALT)
    fleet.run(HOUR)
    mean = sum(hot.values()) / 4
    assert fleet.load()["w0"] <= 1.35 * mean
    assert fleet.moves[0][0] <= 150.0
    assert {owner for _, _, owner, _ in fleet.moves} == {"w0"}
    assert len(fleet.moves) <= 4


def test_a_slow_machine_ends_with_fewer_leases_and_keeps_them() -> None:
    """Given back for the sake of numbers they would leave again, every quarter of an hour."""
    fleet = LedFleet(dict.fromkeys(KEYS, 500.0), {"w0": 0.032} | dict.fromkeys(WORKERS[1:], 0.016), owners=DEALT)
    fleet.run(4 * HOUR)
    assert 1 <= len(fleet.moves) <= 3
    assert fleet.counts()["w0"] == 5 - len(fleet.moves)
    assert fleet.cpu()["w0"] < 65.0


def test_a_machine_that_is_busy_with_something_else_keeps_a_lease_and_nothing_goes_round() -> None:
    fleet = LedFleet(dict.fromkeys(KEYS, 500.0), dict.fromkeys(WORKERS, 0.016), owners=DEALT)
    fleet.elsewhere["w0"] = 70.0
    fleet.run(4 * HOUR)
    assert fleet.counts()["w0"] >= 1
    assert mostly_by_one(fleet) == 1


def test_at_night_when_little_is_carried_all_stays_where_it_is() -> None:
    hot = {key: 2_000.0 if key in ("k00", "k04") else 300.0 for key in KEYS}
    fleet = LedFleet(hot, dict.fromkeys(WORKERS, None), owners=DEALT)
    fleet.run(2 * HOUR)
    by_day = len(fleet.moves)
    assert 1 <= by_day <= 3
    fleet.true = dict.fromkeys(KEYS, 0.0)
    fleet.run(6 * HOUR)
    fleet.true = hot
    fleet.run(2 * HOUR)
    assert len(fleet.moves) == by_day


def test_a_worker_that_joins_an_uneven_fleet_is_given_its_share_and_the_fleet_comes_to_rest() -> None:
    draw = random.Random(5)
    fleet = LedFleet({key: 100.0 * draw.paretovariate(1.2) for key in KEYS}, dict.fromkeys(WORKERS, None), owners=DEALT)
    fleet.run(2 * HOUR)
    before = len(fleet.moves)
    fleet.join("w4")
    fleet.run(2 * HOUR)
    assert 3 <= fleet.counts()["w4"] <= 5
    after = len(fleet.moves)
    assert after - before <= 10
    fleet.run(2 * HOUR)
    assert len(fleet.moves) == after
