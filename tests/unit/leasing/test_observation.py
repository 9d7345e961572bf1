"""Observations and peers: what counts as a sign of life, and what a late scan must not undo."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.observation import Observations, Peers
from lease_store.lease import Lease, WorkerRow

ROW = Lease(key="s", counter=5, owner="a", created_at="1")


def seen(*rows: tuple[Lease, float]) -> Observations:
    observations = Observations()
    for row, now in rows:
        observations.see(row, now)
    return observations


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(("a", "b", None))), min_size=1))
def test_an_observation_moves_only_with_a_greater_counter_and_never_goes_back(
    rows: list[tuple[int, str | None]],
) -> None:
    observations, highest = Observations(), -1
    for now, (counter, owner) in enumerate(rows):
        moved = observations.see(replace(ROW, counter=counter, owner=owner), float(now))
        assert moved == (counter > highest)
        highest = max(highest, counter)
        assert observations["s"].lease.counter == highest
        if moved:
            since = float(now)
        assert observations["s"].seen_at == since


def test_at_an_equal_counter_the_pending_row_is_the_newer_one() -> None:
    pending = replace(ROW, owner="b", checkpoint_owner="a")
    assert seen((ROW, 1.0), (pending, 2.0))["s"].lease == pending
    late = seen((pending, 1.0), (ROW, 2.0))["s"]
    assert late.lease == pending
    assert late.seen_at == 1.0


def test_another_incarnation_starts_anew_at_a_lower_counter() -> None:
    again = replace(ROW, counter=0, created_at="2")
    assert seen((ROW, 1.0), (again, 7.0))["s"].seen_at == 7.0


def test_rows_that_a_whole_scan_does_not_show_are_forgotten() -> None:
    observations = seen((ROW, 1.0))
    assert observations.see_scan([replace(ROW, key="t")], 2.0, began=1.5) == [replace(ROW, key="t")]
    assert "s" not in observations
    assert len(observations) == 1


def test_a_row_that_was_made_while_a_scan_ran_is_not_forgotten_by_it() -> None:
    """A scan of many pages may have passed its place; a child's row would be left until the next one."""
    observations = seen((ROW, 2.0))
    assert observations.see_scan([], 3.0, began=1.5) == []
    assert "s" in observations
    observations.see_scan([], 5.0, began=4.0)
    assert "s" not in observations


def test_a_lease_is_free_after_the_failover_time_or_at_once_without_an_owner() -> None:
    assert seen((ROW, 3.0))["s"].free_at(10.0) == 13.0
    assert seen((replace(ROW, owner=None), 3.0))["s"].free_at(10.0) == 3.0
    assert seen((replace(ROW, owner="b", checkpoint_owner="a"), 3.0))["s"].free_at(10.0) == 13.0


def test_a_take_back_is_noted_when_its_mark_changes() -> None:
    back = replace(ROW, counter=6, taken_back=6)
    observations = seen((ROW, 1.0), (back, 2.0), (replace(back, counter=7), 3.0))
    assert observations["s"].taken_back_at == 2.0
    assert observations["s"].seen_at == 3.0


def test_a_peer_lives_from_first_sight_and_may_be_handed_to_only_once_its_beat_moved() -> None:
    peers = Peers("me")
    peers.see(WorkerRow(worker_id="a", beat=7), 1.0)
    assert [peer.row.worker_id for peer in peers.alive(10.9, 10.0)] == ["a"]
    assert not peers.alive(11.0, 10.0)
    assert not peers.get("a").has_moved  # type: ignore[union-attr]
    peers.see(WorkerRow(worker_id="a", beat=6), 5.0)
    assert not peers.get("a").has_moved  # type: ignore[union-attr]
    peers.see(WorkerRow(worker_id="a", beat=8), 6.0)
    assert peers.get("a").has_moved  # type: ignore[union-attr]
    assert peers.alive(15.9, 10.0)


def test_leases_that_move_keep_their_owner_alive_and_its_longer_failover_time_counts() -> None:
    peers = Peers("me")
    peers.see(WorkerRow(worker_id="a", beat=1, failover_seconds=30.0), 0.0)
    peers.see_lease_moved("a", 20.0)
    assert peers.alive(49.0, 10.0)
    assert peers.failover_of("a", 10.0) == 30.0
    assert peers.failover_of("b", 10.0) == 10.0


def test_my_own_row_and_a_kcl_row_are_no_peers() -> None:
    peers = Peers("me")
    peers.see_scan([WorkerRow(worker_id="me", beat=1), WorkerRow(worker_id="kcl", beat=None)], 0.0)
    assert not list(peers)
