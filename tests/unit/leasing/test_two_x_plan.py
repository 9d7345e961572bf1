"""Shares among workers that know each other by their leases alone, as a KCL 2.x reckons them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from consumer.leasing.two_x_plan import TwoXPlan, TwoXRow, TwoXView, two_x_plan

OWNERS = ("java-1", "java-2", "me", "py-2")


def rows(**owned: int) -> list[TwoXRow]:
    """Live leases by owner, underscores for dashes."""
    owners = [owner.replace("_", "-") for owner, count in owned.items() for _ in range(count)]
    return [TwoXRow(f"s{number:02d}", owner) for number, owner in enumerate(owners)]


def free(count: int, **fields: bool) -> list[TwoXRow]:
    return [TwoXRow(f"f{number:02d}", None, **fields) for number in range(count)]


def expired(count: int) -> list[TwoXRow]:
    return [TwoXRow(f"x{number:02d}", "dead", is_expired=True) for number in range(count)]


def planned(*groups: Iterable[TwoXRow], **fields: object) -> TwoXPlan:
    return two_x_plan(TwoXView("me", [row for group in groups for row in group], **fields))  # type: ignore[arg-type]


def test_alone_it_takes_everything_that_is_free() -> None:
    made = planned(free(3), expired(2))
    assert sorted(made.takes) == ["f00", "f01", "f02", "x00", "x01"]
    assert (made.spare, made.unwanted, made.rob, made.releases) == ((), (), None, ())


def test_who_owns_nothing_robs_one_lease_of_the_most_loaded() -> None:
    assert planned(rows(java_1=3, java_2=5)).rob in {f"s{number:02d}" for number in range(3, 8)}


def test_what_is_free_is_taken_before_anybody_is_robbed() -> None:
    made = planned(rows(java_1=8), free(1))
    assert (made.takes, made.rob) == (("f00",), None)


def test_nobody_is_robbed_for_a_difference_of_one() -> None:
    assert planned(rows(java_1=3, me=2)).rob is None  # five over two: a share is three, and I lack one
    assert planned(rows(java_1=1, java_2=1, me=0)).rob is None  # more workers than leases would only pass them round


def test_two_short_of_my_share_one_is_robbed_even_of_who_has_just_its_own() -> None:
    assert planned(rows(java_1=3, java_2=3, py_2=3, me=1)).rob is not None
    assert planned(rows(java_1=3, java_2=3, py_2=3, me=2)).rob is None


def test_a_surplus_is_let_go_once_somebody_with_less_is_seen() -> None:
    assert planned(rows(me=8)).releases == ()
    assert planned(rows(me=7, java_1=1)).releases == ("s00", "s01", "s02")
    assert planned(rows(me=4, java_1=4)).releases == ()
    assert planned(rows(me=5, java_1=4)).releases == ()  # nine over two: five is a share


def test_who_lacks_two_where_nobody_has_too_much_is_given_one_by_whom_it_would_rob() -> None:
    """Seen on the real thing: two, two and a newcomer, and the newcomer robbed one of ours."""
    ours = "py-2-0123456789"
    four = [TwoXRow(f"s{number}", owner) for number, owner in enumerate(["java-1", "java-1", ours, ours])]
    assert two_x_plan(TwoXView(ours, four, newcomers=["py-3-0123456789"])).releases == ("s2",)
    assert two_x_plan(TwoXView("py-3-0123456789", four)).rob in {"s2", "s3"}  # its last way, and the same victim
    assert two_x_plan(TwoXView("java-1", four, newcomers=["py-3-0123456789"])).releases == ()
    given = [row._replace(owner=None) if row.key == "s2" else row for row in four]
    after = two_x_plan(TwoXView(ours, given, newcomers=["py-3-0123456789"]))
    assert (after.releases, after.takes) == ((), ())  # it lacks one now, and takes back nothing
    assert two_x_plan(TwoXView("py-3-0123456789", given)).takes == ("s2",)


def test_what_is_leaving_goes_first_and_for_what_rests_nothing_else_goes() -> None:
    assert planned(rows(me=7, java_1=1), leaving={"s06"}).releases == ("s06", "s00", "s01")
    assert planned(rows(me=7, java_1=1), leaving={"s06"}, resting={"s00"}).releases == ("s06", "s01")
    assert planned(rows(me=7, java_1=1), resting={"s00", "s01", "s02"}).releases == ()


def test_what_was_let_go_is_left_to_who_lacks_it_until_it_is_very_old() -> None:
    assert planned(rows(me=4, java_1=1), free(3)).takes == ()
    assert planned(rows(me=4, java_1=1), free(3, is_very_old=True)).unwanted != ()


def test_what_a_death_left_is_anybodys_beyond_my_share() -> None:
    made = planned(rows(me=2, java_1=2), expired(4))
    assert (len(made.takes), len(made.spare)) == (2, 2)


def test_finished_rows_that_a_kcl_renews_count_as_its_load_and_are_never_taken() -> None:
    ended = [TwoXRow(f"e{number}", "java-1", is_finished=True) for number in range(4)]
    assert planned(rows(me=4), ended).releases == ()
    assert planned(ended).rob is None
    gone = [TwoXRow("e9", "dead", is_expired=True, is_finished=True), TwoXRow("e8", None, is_finished=True)]
    assert planned(gone).takes == ()


def test_a_limit_binds_in_every_way_of_getting_a_lease() -> None:
    made = planned(rows(me=2, java_1=1), free(3, is_very_old=True), expired(3), max_leases=3)
    assert len(made.takes) + len(made.spare) + len(made.unwanted) == 3 - 2
    assert planned(rows(me=2, java_1=9), max_leases=2).rob is None


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[TwoXRow], dict[str, bool]]:
    names = draw(st.lists(st.sampled_from(OWNERS), min_size=1, unique=True))
    count = draw(st.integers(1, 30))
    owners = [draw(st.sampled_from([None, *names])) for _ in range(count)]
    return [TwoXRow(f"s{n:02d}", owner) for n, owner in enumerate(owners)], {each: "java" in each for each in names}


@given(fleets(), st.integers(0, 1000))
def test_any_fleet_comes_to_rest_with_every_lease_owned(
    fleet: tuple[list[TwoXRow], dict[str, bool]], seed: int
) -> None:
    """One act at a time in any order: a lease is let go for somebody who takes it, so the acts come to an end."""
    table, workers = fleet
    owners = {row.key: row.owner for row in table}
    draw = random.Random(seed)
    moves = 0
    for _ in range(400):
        idle = 0
        for worker, is_java in sorted(workers.items(), key=lambda _: draw.random()):
            made = two_x_plan(TwoXView(worker, [TwoXRow(key, owner) for key, owner in owners.items()]))
            won = [*made.takes, *([made.rob] if made.rob else [])]
            lost = () if is_java else made.releases
            owners |= dict.fromkeys(won, worker) | dict.fromkeys(lost)
            moves += len(won) + len(lost)
            idle += not won and not lost
        if idle == len(workers):
            break
    else:
        raise AssertionError(f"never at rest: {owners}")
    loads = Counter(owner for owner in owners.values() if owner)
    assert None not in owners.values()
    share = -(-len(owners) // len(loads))
    assert max(loads.values()) <= max(1, share)
    assert moves <= 3 * len(owners)


@given(fleets())
def test_what_is_let_go_is_never_more_than_what_others_lack(
    fleet: tuple[list[TwoXRow], dict[str, bool]],
) -> None:
    table, workers = fleet
    plans = {worker: two_x_plan(TwoXView(worker, table)) for worker in workers}
    owners = {row.owner for row in table} - {None}
    seen = {worker: made for worker, made in plans.items() if worker in owners}
    let_go = sum(len(made.releases) for made in seen.values())
    unowned = sum(row.owner is None for row in table)
    assert let_go + unowned <= sum(made.lacking for made in seen.values()) or not seen
