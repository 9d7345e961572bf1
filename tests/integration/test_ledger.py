"""The judgements of the end-to-end tests are judged themselves: each finds the fault that it is for, and only that."""

from __future__ import annotations

from consumer.clock import SystemClock
from tests.integration.ledger import Ledger, Note, disorder, early_children, lost, repeats, repeats_within_tenures
from tests.integration.process_stage import notes_of


def given(*entries: tuple[str, int], shard: str = "s1", worker: str = "ada", tenure: int = 1, at: float = 0.0):
    """Deliveries one second after another, numbered as they come."""
    return [
        Note(at + place, worker, "record", shard, tenure, int(at) + place, key, version)
        for place, (key, version) in enumerate(entries)
    ]


SOUND = given(("a", 1), ("b", 1), ("a", 2))


def test_a_sound_delivery_is_found_sound() -> None:
    assert lost(SOUND, [("a", 1), ("a", 2), ("b", 1)]) == []
    assert (repeats(SOUND), repeats_within_tenures(SOUND), disorder(SOUND)) == ([], [], [])


def test_a_record_that_nobody_was_given_is_lost() -> None:
    assert lost(SOUND, [("a", 1), ("a", 2), ("b", 1), ("b", 2)]) == [("b", 2)]


def test_a_repeat_is_none_of_order_and_none_within_tenures_where_another_one_began() -> None:
    notes = [*SOUND, *given(("a", 1), ("a", 2), ("a", 3), worker="bob", tenure=2, at=10.0)]
    assert repeats(notes) == [("a", 1), ("a", 2)]
    assert (repeats_within_tenures(notes), disorder(notes)) == ([], [])


def test_the_same_tenure_must_not_be_given_a_record_twice() -> None:
    twice = SOUND[1]
    assert len(repeats_within_tenures([*SOUND, Note(9.0, "ada", "record", "s1", 1, twice.number, "b", 1)])) == 1


def test_an_overtaking_a_skip_and_a_late_start_are_disorder() -> None:
    assert len(disorder(given(("a", 2), ("a", 1)))) == 1
    assert len(disorder(given(("a", 1), ("a", 3)))) == 1
    assert len(disorder(given(("a", 2), ("a", 3)))) == 1
    assert disorder(given(("a", 2), ("a", 3)), first=None) == []


def test_a_child_that_begins_before_either_parent_is_through_is_early() -> None:
    parents = {"child": ("s1", "s2")}
    notes = [*given(("a", 1), ("a", 2)), *given(("b", 1), shard="s2", at=5.0)]
    assert early_children([*notes, *given(("a", 3), shard="child", at=6.0)], parents) == []
    found = early_children([*notes, *given(("a", 3), shard="child", at=4.0)], parents)
    assert found == ["child before the end of s2"]
    # A zombie that is given old records once more makes no child early.
    again = given(("b", 1), shard="s2", worker="zombie", at=9.0)
    assert early_children([*notes, *given(("a", 3), shard="child", at=6.0), *again], parents) == []


async def test_a_wait_ends_with_the_note_that_it_waits_for_and_says_what_was_missing() -> None:
    ledger = Ledger()
    assert (ledger.next_version("a"), ledger.next_version("a")) == (1, 2)
    ledger.take(SOUND[0])
    assert await ledger.until(lambda: ledger.of("record"), "one record") == [SOUND[0]]
    clock, failed = SystemClock(), ""
    began = clock.monotonic()
    try:
        await ledger.until_all_delivered(0.05)
    except AssertionError as error:
        failed = str(error)
    assert "2 records delivered" in failed
    assert clock.monotonic() - began >= 0.05
    ledger.take(SOUND[2])
    await ledger.until_all_delivered(5.0)


def test_a_line_that_a_kill_cut_off_tells_nothing() -> None:
    whole = b'[1.0, "record", "s1", 1, 7, "a", 2]\n'
    assert list(notes_of("ada", [whole, b'[1.1, "rec'])) == [Note(1.0, "ada", "record", "s1", 1, 7, "a", 2)]
