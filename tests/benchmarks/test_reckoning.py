"""What the benchmarks reckon and reject: a wrong quartile, or a run that lost records, would be believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.contenders.counting import (
    Slots,
    from_attribute,
    from_payload,
    from_sequence_number,
    is_next,
    slot_of,
)
from tests.benchmarks.plot import bars_of
from tests.benchmarks.reckoning import Turn, figures_of, lower_quartile, ratios_to
from tests.benchmarks.report import contenders_table, goals_table
from tests.benchmarks.results import goal_row
from tests.benchmarks.worker_page import WorkerPage, value_of


def turn(cpu_seconds: float = 1.0, records: int = 1_000_000, idle: float = 0.5) -> Turn:
    return Turn(records, cpu_seconds, 2.0, idle)


def test_the_lower_quartile_is_what_a_quarter_of_the_turns_do_not_exceed():
    assert lower_quartile([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) == 3.0
    assert lower_quartile([4.0]) == 4.0
    with pytest.raises(ValueError, match="nothing"):
        lower_quartile([])


def test_one_disturbed_turn_moves_no_figure():
    calm = figures_of([turn(1.0) for _ in range(9)])
    disturbed = figures_of([*(turn(1.0) for _ in range(8)), turn(40.0)])
    assert disturbed["microseconds_a_record"] == calm["microseconds_a_record"] == 1.0
    assert disturbed["worst_microseconds_a_record"] == 40.0
    assert calm["records_per_cpu_second"] == 1_000_000


def test_a_ratio_is_how_many_times_the_records_of_another():
    figures = {name: figures_of([turn(cost)]) for name, cost in (("leasehold", 2.0), ("boto3", 80.0), ("limit", 1.0))}
    assert ratios_to("leasehold", figures) == {"boto3": 40.0, "limit": 0.5}


@pytest.mark.parametrize(("idle", "records", "valid"), [(0.15, 10, True), (0.149, 10, False), (0.9, 0, False)])
def test_a_turn_counts_only_where_records_came_and_the_server_was_not_the_limit(idle: float, records: int, valid: bool):
    assert turn(idle=idle, records=records).is_valid is valid


def marks(numbers: list[int]) -> list[str]:
    return [f"300000000{number:012d}" for number in numbers]


@given(first=st.integers(0, 10**9), count=st.integers(1, 60))
def test_what_follows_is_exact(first: int, count: int):
    assert is_next(first, marks(list(range(first, first + count))), from_sequence_number)


@given(data=st.data(), first=st.integers(0, 5000), count=st.integers(2, 60))
def test_a_lost_a_doubled_and_a_swapped_record_are_seen_wherever_they_are(data: st.DataObject, first: int, count: int):
    whole = list(range(first, first + count))
    at = data.draw(st.integers(0, count - 1), label="at")
    other = data.draw(st.integers(0, count - 1).filter(lambda each: each != at), label="other")
    lost = whole[:at] + whole[at + 1 :]
    doubled = whole[: at + 1] + whole[at:]
    in_anothers_place = [whole[other] if index == at else number for index, number in enumerate(whole)]
    swapped = list(in_anothers_place)
    swapped[other] = whole[at]
    # What was lost at the very end is missed by the next batch, which does not begin there.
    assert is_next(first, marks(lost), from_sequence_number) is (at == count - 1)
    again = [first - 1, *whole[1:]]  # the last batch's last in place of this one's first
    for wrong in (doubled, in_anothers_place, swapped, *([again] if first else [])):
        assert not is_next(first, marks(wrong), from_sequence_number), wrong
    assert not is_next(first + 1, marks(whole), from_sequence_number)
    assert not is_next(max(0, first - 1), marks(whole), from_sequence_number) or first == 0


def test_a_slot_counts_up_to_what_was_wrong_and_stays(tmp_path, capfd):
    slots = Slots.create(tmp_path / "counts", 2)
    contender = Slots(tmp_path / "counts")
    assert slots.unread() == 2
    contender.hand_over(1, marks([0, 1, 2]), from_sequence_number)
    contender.hand_over(0, marks([0]), from_sequence_number)
    assert (slots.total(), slots.unread(), slots.wrong()) == (4, 0, [])
    contender.hand_over(1, marks([4, 5]), from_sequence_number)
    contender.hand_over(1, marks([3, 4]), from_sequence_number)
    assert slots.wrong() == [1]
    assert "after 3 records came 4 to 5" in capfd.readouterr().err


def test_a_wrong_first_record_is_seen_too(tmp_path):
    slots = Slots.create(tmp_path / "counts", 1)
    slots.hand_over(0, marks([1, 2]), from_sequence_number)
    assert slots.wrong() == [0]


def test_marks_of_each_kind_carry_the_number():
    assert from_payload(b"000000001234 The quick") == from_payload("000000001234 The quick") == 1234
    assert from_attribute("100000001234") == 1234
    assert slot_of("shardId-000000000012") == slot_of("shardId-00000000000000000012-5eed0000") == 12


def test_a_goal_that_was_not_measured_is_neither_met_nor_missed():
    rows = [
        goal_row("fast", 35.0, 35.0, "x", at_least=True),
        goal_row("small", 121.0, 120.0, "MB", at_least=False),
        goal_row("unknown", None, 3.0, "x", at_least=True),
    ]
    assert [row["met"] for row in rows] == [True, False, None]
    assert goals_table(rows).splitlines()[2:] == [
        "| fast | 35 x | >= 35 x | yes |",
        "| small | 121 MB | <= 120 MB | **no** |",
        "| unknown | - | >= 3 x | not measured |",
    ]


def course() -> dict:
    figures = {name: figures_of([turn(cost)]) for name, cost in (("leasehold", 2.5), ("boto3", 80.0))}
    return {
        "title": "A course",
        "shards": 4,
        "data_path": "plain",
        "command": "make bench",
        "commit": "1234567",
        "at": "2026-11-21T18:00:00+00:00",
        "rounds": 9,
        "window_seconds": 1.5,
        "missing": {"kcl": "No Java here."},
        "machine": {"cpus": 2, "model": "a processor", "python": "3.11.7", "load_average": 0.5},
        "contenders": {name: {"label": f"the {name}", **each} for name, each in figures.items()},
        "ratios": ratios_to("leasehold", figures),
    }


def test_a_table_names_the_cheapest_first_and_who_was_missing():
    lines = contenders_table(course()).splitlines()
    assert [line.split(" |")[0] for line in lines[4:]] == ["| the leasehold", "| the boto3", "| kcl"]
    assert "| 32 x |" in lines[5]
    assert "No Java here." in lines[6]


def test_bars_are_drawn_from_below_with_their_ratio_to_the_loop():
    notes = [(bar.name, bar.note) for bar in bars_of(course())]
    assert notes == [("boto3", "12 k"), ("leasehold", "400 k,  32.0 x boto3")]


PAGE = """leasehold_data_path{{path="direct"}} {direct}
leasehold_data_path{{path="plain"}} 0.0
leasehold_lease_renewals_total {writes}
"""


def test_a_worker_that_wrote_no_lease_or_took_another_way_is_not_measured(monkeypatch):
    page = WorkerPage(1)
    shown = iter([(1.0, 5.0), (1.0, 6.0), (1.0, 6.0), (0.0, 7.0)])
    monkeypatch.setattr(
        page, "text", lambda: PAGE.format_map(dict(zip(("direct", "writes"), next(shown), strict=True)))
    )
    page.check("direct")
    page.check("direct")
    with pytest.raises(RuntimeError, match="wrote no lease"):
        page.check("direct")
    with pytest.raises(RuntimeError, match="data path direct"):
        page.check("direct")


def test_a_metric_is_summed_over_its_labels():
    page = 'a_total{shard="1"} 2.0\na_total{shard="2"} 3.0\nb_total 7.0\naa_total 9.0\n'
    assert (value_of(page, "a_total"), value_of(page, "b_total"), value_of(page, "c_total")) == (5.0, 7.0, 0)
