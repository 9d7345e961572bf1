"""The guard: what was reached is not lost unnoticed. Short courses against the ratios that `make bench` has stored.

CPU seconds in turns, so that a busy machine moves ratios by little; a course that falls short is run once more, since
one disturbed run is no slower product.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import results
from tests.benchmarks.contenders.registry import CONTENDERS, COURSES, OURS, Course
from tests.benchmarks.processes import Canned
from tests.benchmarks.reckoning import figures_of, ratios_to
from tests.benchmarks.scale import decoding, pipeline
from tests.benchmarks.turns import Pace, Race

KEPT_SHARE = 0.7
MOST_OF_DECODING = 0.1
PACE = Pace(rounds=3, window_seconds=0.8, settle_seconds=0.3)
AGAINST = [each for each in CONTENDERS if each.name in ("boto3", "limit")]


def measured(course: Course, folder: Path) -> dict[str, float]:
    """Ratios of a short run."""
    folder.mkdir()
    with Canned(folder) as canned, Race(course, [OURS, *AGAINST], canned, "", folder, PACE) as race:
        race.run()
    return ratios_to(OURS.name, {name: figures_of(turns) for name, turns in race.turns.items()})


@pytest.mark.integration
@pytest.mark.parametrize("name", ["dynamodb", "kinesis"])
def test_no_ratio_has_fallen_below_seventy_per_cent_of_the_stored_one(name: str, tmp_path: Path):
    stored = results.stored("side_by_side")
    assert stored is not None, "make bench has stored nothing: there is nothing to hold the product to"
    course = next(each for each in COURSES if each.name == name)
    least = {each.name: KEPT_SHARE * stored[name]["ratios"][each.name] for each in AGAINST}
    tries = []
    for number in range(2):
        tries.append(measured(course, tmp_path / str(number)))
        if all(tries[-1][other] >= ratio for other, ratio in least.items()):
            return
    pytest.fail(
        f"{course.title}: Leasehold reads {tries} times the records of the others in a CPU second, where at least "
        f"{least} is kept ({KEPT_SHARE:.0%} of what make bench stored at commit {stored[name]['commit']}). "
        "See tests/benchmarks/README.md: run make bench for this course, and look for what became slower."
    )


@pytest.mark.parametrize("service", ["dynamodb", "kinesis"])
def test_delivery_adds_little_to_what_reading_a_page_takes(service: str):
    """0.02 to 0.03 of the decoder's time when it was written; twice that is asked for again before it is believed."""
    tries = []
    for _ in range(3):
        added = pipeline.added(rounds=5, batches=(1000,))[f"{service}, 1000"]
        tries.append(added / decoding.microseconds_a_record(service))
        if tries[-1] <= MOST_OF_DECODING:
            return
    pytest.fail(f"Delivery adds {tries} of what decoding a page takes, where {MOST_OF_DECODING} is kept.")
