"""A plan says the same again for its seed, and holds what it promises."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.plan import Round, SourceKind, StopKind, TroubleKind, drawn_rounds

ROUND_SECONDS = 6.0


def rounds(seed: int, count: int, source: SourceKind = "dynamodb") -> list[Round]:
    return list(islice(drawn_rounds(seed, source, round_seconds=ROUND_SECONDS, failover_seconds=2.0), count))


def test_a_seed_is_a_story() -> None:
    assert rounds(1, 20) == rounds(1, 20)
    assert rounds(1, 20) != rounds(2, 20)


@pytest.mark.parametrize("seed", range(20))
def test_four_rounds_hold_each_stop_and_each_trouble_and_all_is_over_at_a_rounds_end(seed: int) -> None:
    four = rounds(seed, 4)
    assert {stop.kind for each in four for stop in each.stops} == set(StopKind)
    assert {trouble.kind for each in four for trouble in each.troubles} == set(TroubleKind)
    for each in four:
        assert all(happening.at + happening.seconds <= ROUND_SECONDS for happening in (*each.stops, *each.troubles))
        assert all(change.at <= ROUND_SECONDS for change in each.changes)


def test_a_freeze_outlasts_the_failover_time() -> None:
    frozen = [stop.seconds for each in rounds(3, 100) for stop in each.stops if stop.kind is StopKind.FREEZE]
    assert len(frozen) > 20
    assert min(frozen) > 2.0


def test_only_kinesis_merges() -> None:
    def kinds(source: SourceKind) -> set[str]:
        return {change.kind for each in rounds(1, 20, source) for change in each.changes}

    assert kinds("kinesis") - kinds("dynamodb") == {"merge"}
