"""``python -m tests.benchmarks``: progress on standard error, the tables on standard output, results into files."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from consumer.cli.made_table import placed, rewrite
from consumer.cli.output import until_unread
from consumer.testing.ministack import MinistackMissing, MinistackNotReady
from tests.benchmarks import plot, policies, report, results, side_by_side
from tests.benchmarks.contenders.registry import COURSES
from tests.benchmarks.processes import progress
from tests.benchmarks.scale import (
    decoding,
    idle_shards,
    lanes,
    lease_writes,
    looks,
    pipeline,
    reading,
    shard_memory,
    start_up,
    ten_thousand,
    two_processes,
)
from tests.benchmarks.turns import Inexact, Pace

MEASURES: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "idle_shards": idle_shards.measure,
    "two_processes": two_processes.measure,
    "lease_writes": lease_writes.measure,
    "start_up": start_up.measure,
    "reading": reading.measure,
    "decoding": decoding.measure,
    "looks": looks.measure,
    "ten_thousand": ten_thousand.measure,
    "shard_memory": shard_memory.measure,
    "pipeline": pipeline.measure,
    "lanes": lanes.measure,
    "policies": policies.measure,
}
"""What is not measured in turns against others: each gives ``figures`` and ``goals`` (rows of ``results.goal_row``)."""

_HERE: Final = Path(__file__).parent
_COURSES: Final = {course.name: course for course in COURSES}
_FAILURES: Final = (Inexact, MinistackMissing, MinistackNotReady, RuntimeError, TimeoutError)


def main() -> int:
    """Measure what is asked for; 0 whether or not goals were met, 1 where a measure could not be made."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinds: nothing is left behind
    pace = Pace(rounds=arguments.rounds, window_seconds=arguments.window_seconds)
    failed = []
    try:
        for name in arguments.what or [*_COURSES, *MEASURES]:
            progress(f"{name} ...")
            try:
                _measure(name, pace, arguments.only)
            except _FAILURES as error:
                # One measure that can't be made does not take the others' figures with it.
                failed.append(name)
                progress(f"  failed: {type(error).__name__}: {error}")
            if not arguments.only:
                _write()  # a run that is interrupted leaves what it has measured
    except KeyboardInterrupt:
        progress("Interrupted; every process of it is gone.")
        return 130
    if not arguments.only:
        print(report.page(*_stored(), _policies()))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    known = [*_COURSES, *MEASURES]
    parser.add_argument("what", nargs="*", choices=[[], *known], metavar="WHAT", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=9, help="of each course (default %(default)s)")
    parser.add_argument("--window-seconds", type=float, default=1.5, help="of each turn (default %(default)s)")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="NAME", help="contenders beside this consumer; stores nothing"
    )
    return parser


def _measure(name: str, pace: Pace, only: list[str]) -> None:
    command, began = results.command_line(), time.monotonic()
    facts = results.made(command)
    if name in MEASURES:
        found = {**facts, **MEASURES[name]()}
    else:
        found = {**facts, **side_by_side.measure(_COURSES[name], pace, only)}
    found["took_seconds"] = round(time.monotonic() - began)
    progress(f"  took {found['took_seconds']} s")
    if name in MEASURES:
        results.store(name, found)
        return
    if only:
        print(report.contenders_table(found))
        return
    courses = {**(results.stored("side_by_side") or {}), name: found}
    results.store("side_by_side", {each: courses[each] for each in _COURSES if each in courses})


def _stored() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the last run of each course left, and the goals of all that was ever measured here."""
    courses = results.stored("side_by_side") or {}
    rows = side_by_side.goal_rows(courses)
    for name in MEASURES:
        rows += (results.stored(name) or {}).get("goals", [])
    return courses, rows


def _policies() -> str | None:
    stored = results.stored("policies")
    return None if stored is None else policies.table(stored)


def _write() -> None:
    """The tables into the page, and the picture, from all that is stored."""
    courses, rows = _stored()
    page = partial(placed, table=report.page(courses, rows, _policies()), begin=report.BEGIN, end=report.END)
    rewrite(_HERE / "README.md", page)
    if courses and importlib.util.find_spec("matplotlib"):
        plot.draw(courses, _HERE / "side_by_side.svg")


if __name__ == "__main__":
    sys.exit(until_unread(main))
