"""Observations and peers: what counts as a sign of life, and what a late scan must not undo."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.observation import Observations, Ousted, Peer, Peers
from lease_store.checkpoint import Checkpoint
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


FORCED = replace(ROW, counter=6, owner="b", owner_switches_since_checkpoint=1)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([(ROW, 1.0), (FORCED, 2.0)], Ousted("a", 1.0), id="one step: what was known is its last write"),
        pytest.param([(ROW, 1.0), (replace(FORCED, counter=7), 2.0)], Ousted("a", 2.0), id="it may have written since"),
        pytest.param([(FORCED, 1.0)], Ousted("", 1.0), id="first sight"),
        pytest.param([(ROW, 1.0)], None, id="first sight, nobody ousted"),
        pytest.param([(ROW, 1.0), (replace(ROW, counter=6, owner="b"), 2.0)], None, id="let go of"),
        pytest.param(
            [(ROW, 1.0), (FORCED, 2.0), (replace(FORCED, counter=8, owner="c"), 4.0)],
            Ousted("a", 1.0),
            id="let go of later, in the same count",
        ),
        pytest.param(
            [(replace(FORCED, owner="a"), 1.0), (replace(FORCED, counter=9, checkpoint=Checkpoint("7")), 2.0)],
            Ousted("a", 2.0),
            id="a checkpoint has set the count to zero between two looks",
        ),
    ],
)
def test_who_was_ousted_is_told_by_the_count_of_switches(rows: list[tuple[Lease, float]], expected: Ousted) -> None:
    assert seen(*rows)["s"].ousted == expected


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


def test_my_own_row_is_no_peer() -> None:
    peers = Peers("me")
    peers.see_scan([WorkerRow(worker_id="me", beat=1)], 0.0)
    assert not list(peers)


# -- workers of a Java KCL: no beat, a row every 30 s


def kcl(updated_at: int = 1_000, cpu: tuple[float, ...] = (20.0, 30.0)) -> WorkerRow:
    samples = {"C": cpu} if cpu else {}
    return WorkerRow(
        worker_id="java",
        beat=None,
        updated_at=updated_at,
        samples=samples,
        ranges=dict.fromkeys(samples, (100.0,)),
        support_updated_at=updated_at,
    )


def java(peers: Peers) -> Peer:
    peer = peers.get("java")
    assert peer is not None
    return peer


def test_a_kcl_worker_lives_for_a_minute_after_its_row_changed_by_my_clock() -> None:
    peers = Peers("me")
    peers.see_scan([kcl(1_000)], 0.0)
    assert java(peers).is_kcl
    assert java(peers).is_alive(59.9, 10.0)
    assert not java(peers).is_alive(60.0, 10.0)
    assert java(peers).is_alive(89.0, 90.0)
    peers.see_scan([kcl(1_000)], 30.0)
    assert not java(peers).is_alive(60.0, 10.0), "its row is the same as before"
    peers.see_scan([kcl(1_030)], 30.0)
    assert java(peers).is_alive(89.9, 10.0)


@pytest.mark.parametrize(
    ("later", "is_a_move"),
    [
        (kcl(1_001), True),
        (kcl(1_000, (30.0, 31.0)), True),
        (replace(kcl(1_000), support_updated_at=1_001), True),
        (kcl(1_000), False),
        (kcl(970), False),
        (kcl(400), True),
    ],
    ids=["time of update", "samples", "support", "the same", "as a late scan shows it", "its clock was set back"],
)
def test_what_counts_as_a_move_of_a_kcl_workers_row(later: WorkerRow, is_a_move: bool) -> None:
    peers = Peers("me")
    peers.see(kcl(1_000), 0.0)
    peers.see(later, 50.0)
    assert java(peers).is_alive(70.0, 10.0) == is_a_move
    assert java(peers).row == (later if is_a_move else kcl(1_000))


def test_a_kcl_worker_whose_row_stood_there_before_me_receives_once_it_or_a_lease_of_its_has_moved() -> None:
    """A table full of the rows of a Java fleet that was stopped yesterday: nothing may be handed to these."""
    for sign in ("row", "lease"):
        peers = Peers("me")
        peers.see_scan([kcl(1_000)], 0.0)
        assert not java(peers).may_receive
        if sign == "row":
            peers.see_scan([kcl(1_030)], 30.0)
        else:
            peers.see_lease_moved("java", 3.0)
        assert java(peers).may_receive, sign


def test_a_kcl_worker_that_joins_receives_at_first_sight() -> None:
    peers = Peers("me")
    peers.see_scan([], 0.0)
    peers.see_scan([kcl(1_000), WorkerRow(worker_id="ours", beat=1)], 1.0)
    assert java(peers).may_receive
    ours = peers.get("ours")
    assert ours is not None
    assert not ours.may_receive, "one of ours beats three times in its first seconds: that is waited for"


def test_a_kcl_worker_whose_lease_stood_still_is_dead_until_something_of_it_moves() -> None:
    """It would be handed leases for the rest of a minute after it was killed."""
    for sign in ("row", "lease"):
        peers = Peers("me")
        peers.see_scan([], 0.0)
        peers.see_scan([kcl(1_000)], 1.0)
        peers.see_still("java")
        assert not peers.alive(12.0, 10.0)
        peers.see_scan([kcl(1_000)], 12.0)
        assert not peers.alive(12.0, 10.0)
        if sign == "row":
            peers.see_scan([kcl(1_030)], 13.0)
        else:
            peers.see_lease_moved("java", 13.0)
        assert peers.alive(13.0, 10.0), sign
        assert java(peers).may_receive, sign


def test_a_worker_of_ours_is_judged_by_its_own_row_though_a_lease_of_its_stood_still() -> None:
    peers = Peers("me")
    peers.see(WorkerRow(worker_id="a", beat=1), 0.0)
    peers.see_still("a")
    assert peers.alive(5.0, 10.0)


@pytest.mark.parametrize(
    "row",
    [
        kcl(cpu=(20.0, -1.0)),
        replace(kcl(), ranges={}),
        replace(kcl(), ranges={"C": ()}),
        replace(kcl(), ranges={"C": (0.0,)}),
        replace(kcl(), samples={"C": ()}),
        replace(kcl(), updated_at=0),
    ],
    ids=["newest capture failed", "no range", "empty range", "range 0", "no sample", "no time of update"],
)
def test_a_kcl_worker_that_fails_lives_and_receives_nothing(row: WorkerRow) -> None:
    peers = Peers("me")
    peers.see_scan([], 0.0)
    peers.see_scan([row], 1.0)
    assert java(peers).is_alive(10.0, 10.0)
    assert not java(peers).may_receive


def test_a_capture_that_failed_earlier_and_a_worker_without_metrics_are_well() -> None:
    for row in (kcl(cpu=(-1.0, 20.0)), kcl(cpu=())):
        peers = Peers("me")
        peers.see_scan([], 0.0)
        peers.see_scan([row], 1.0)
        assert java(peers).may_receive


def test_a_kcl_worker_is_never_taken_for_one_that_has_just_begun() -> None:
    peers = Peers("me")
    peers.see(kcl(), 0.0)
    assert not peers.has_new(1.0, 10.0)
