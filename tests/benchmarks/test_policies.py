"""The table of policies can't rot: each line keeps its bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.benchmarks import results
from tests.benchmarks.policies import CALL_SECONDS, POISON, POLICIES, RECORDS, Policy, table, tried
from tests.unit.delivery.whole_worker import Sink, World, play


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_c19_one_poison_record_in_a_thousand_costs_what_the_table_says(policy: Policy):
    found = tried(policy)
    assert found.ended == policy.ends
    assert len(found.letters) == policy.letters
    assert found.dropped == policy.dropped
    if not policy.ends:
        assert found.distinct < RECORDS - 1
        assert found.repeats > RECORDS, "it is tried again and again"
        return
    assert found.distinct == RECORDS - policy.letters - policy.dropped
    assert found.letters == () or POISON in found.letters
    assert found.repeats <= policy.most_repeats
    assert found.wait_seconds is not None
    assert found.wait_seconds <= policy.most_wait_seconds + 1e-6


def test_without_poison_nothing_is_repeated_and_nothing_waits():
    for policy in POLICIES:
        found = tried(policy, bad=frozenset())
        assert (found.distinct, found.repeats, found.letters, found.dropped) == (RECORDS, 0, (), 0), policy.name
        assert found.wait_seconds is not None, policy.name
        assert found.wait_seconds <= CALL_SECONDS + 1e-6, f"{policy.name}: a turn of the poison's key, at most"


def test_the_stored_table_has_every_policy_with_today_s_bounds():
    stored = results.stored("policies")
    assert stored is not None, "run `make bench ARGS=policies`"
    rows = stored["figures"]["policies"]
    assert [row["policy"] for row in rows] == [policy.name for policy in POLICIES]
    assert [row["dead_letters"] for row in rows] == [policy.letters for policy in POLICIES]
    assert all(policy.name in table(stored) for policy in POLICIES)


def test_many_poison_keys_do_not_starve_the_others():
    """Fifty keys that are tried again and again, a second each: between two retries there is a batch of the others."""
    bad = frozenset(range(50))
    sink = Sink(bad, how="fails", seconds=1.0)

    def made() -> World:
        world = World(sink, batch_size=50)
        for number in range(1000):
            world.put(f"key-{number % 500}")
        return world

    play(made, 120.0)
    assert {number for number, _ in sink.writes} >= {number for number in range(1000) if number % 500 >= 50}
    last = max(at for number, at in sink.writes if number % 500 >= 50)
    written = sorted({at for number, at in sink.writes if at <= last})
    assert max(later - earlier for earlier, later in pairwise(written)) <= 2.0 + 1e-6, "one retry, and the call itself"
