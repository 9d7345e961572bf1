"""The courses: this consumer beside the others over the same canned stream, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from consumer.testing.ministack import Ministack
from tests.benchmarks.contenders.java import JAVA
from tests.benchmarks.contenders.registry import CONTENDERS, COURSES, OURS, Contender, Course
from tests.benchmarks.processes import Canned, progress
from tests.benchmarks.reckoning import figures_of, ratios_to
from tests.benchmarks.results import goal_row
from tests.benchmarks.turns import Pace, Race

__all__ = ["ALL", "GOALS", "goal_rows", "measure"]

ALL: Final[tuple[Contender, ...]] = (*CONTENDERS, *JAVA)

GOALS: Final[tuple[tuple[str, str, float], ...]] = (
    ("dynamodb", "boto3", 35.0),
    ("dynamodb", "java-sdk", 2.5),
    ("images", "boto3", 18.0),
    ("kinesis", "kcl", 2.5),
    ("kinesis", "boto3", 10.0),
    ("kinesis", "async-kinesis", 18.0),
)
"""Course, whom against, and at least how many times its records in a CPU second."""


def measure(course: Course, pace: Pace, names: Sequence[str]) -> dict[str, Any]:
    """One course over all contenders that can run here, or those named and our own.

    Raises Inexact, RuntimeError and TimeoutError where the measure can't be made.
    """
    entered = [each for each in ALL if course.touch in each.touches and (not names or each.name in (*names, OURS.name))]
    missing = {each.name: reason for each in entered if (reason := each.missing())}
    for name, reason in missing.items():
        progress(f"  without {name}: {reason}")
    present = [each for each in entered if each.name not in missing]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leasehold-benchmark-")))
        canned = stack.enter_context(Canned(folder))
        tables = ""
        if any(each.tables_in == "ministack" for each in present):
            tables = stack.enter_context(Ministack.start()).endpoint_url
        race = stack.enter_context(Race(course, present, canned, tables, folder, pace))
        race.run()
    figures = {name: figures_of(turns) for name, turns in race.turns.items()}
    return {
        "title": course.title,
        "shards": course.stream.shards,
        "rounds": pace.rounds,
        "window_seconds": pace.window_seconds,
        "data_path": OURS.data_path,
        "contenders": {
            name: {"label": _label(name), **each, "rejected_turns": race.rejected[name]}
            for name, each in figures.items()
        },
        "ratios": ratios_to(OURS.name, figures),
        "missing": missing,
        "left": race.left,
    }


def goal_rows(courses: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The goals of the courses with what was stored of them."""
    titles = {course.name: course.title for course in COURSES}
    return [
        goal_row(
            f"{titles[course]}: against {_label(against)}",
            courses.get(course, {}).get("ratios", {}).get(against),
            goal,
            "x",
            at_least=True,
        )
        for course, against, goal in GOALS
    ]


def _label(name: str) -> str:
    return next(each.label for each in ALL if each.name == name)
