"""From stored results to the tables of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["BEGIN", "END", "contenders_table", "goals_table", "page"]

BEGIN: Final = "<!-- tables of the benchmarks: made by `make bench`, do not edit by hand -->"
END: Final = "<!-- end of the tables of the benchmarks -->"
_MET: Final = {True: "yes", False: "**no**", None: "not measured"}


def page(courses: Mapping[str, Mapping[str, Any]], rows: Iterable[Mapping[str, Any]], policies: str | None) -> str:
    """All tables, the goals first, then that of ``policies``, then a table for each course."""
    parts = [goals_table(rows), policies, *(contenders_table(course) for course in courses.values())]
    return "\n\n".join(part for part in parts if part)


def goals_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A line a goal."""
    lines = ["| figure | measured | goal | met |", "|---|---:|---:|---|"]
    for row in rows:
        sign = ">=" if row["at_least"] else "<="
        goal = f"{sign} {_text(row['goal'])} {row['unit']}".strip()
        value = "-" if row["value"] is None else f"{_text(row['value'])} {row['unit']}".strip()
        lines.append(f"| {row['figure']} | {value} | {goal} | {_MET[row['met']]} |")
    return "\n".join(lines)


def contenders_table(course: Mapping[str, Any]) -> str:
    """A course's contenders, the cheapest first, with where and how it was measured."""
    machine = course["machine"]
    how = (
        f"**{course['title']}** ({course['shards']} shards, data path {course['data_path']}). "
        f"`{course['command']}`, commit {course['commit']}, {course['at'][:10]}, {course['rounds']} rounds of "
        f"{course['window_seconds']:g} s; {machine['cpus']} x {machine['model']}, Python {machine['python']}, load "
        f"average {machine['load_average']} when it began."
    )
    lines = [
        how,
        "",
        "| contender | us a record | median, worst | records a CPU second | Leasehold reads | server idle, least |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, each in sorted(course["contenders"].items(), key=lambda pair: pair[1]["microseconds_a_record"]):
        ratio = course["ratios"].get(name)
        lines.append(
            f"| {each['label']} | {_text(each['microseconds_a_record'])} | "
            f"{_text(each['median_microseconds_a_record'])}, {_text(each['worst_microseconds_a_record'])} | "
            f"{each['records_per_cpu_second']:,} | {'' if ratio is None else f'{_text(ratio)} x'} | "
            f"{each['least_server_idle_share']:.0%} |"
        )
    lines += [f"| {name} {why} | | | | | |" for name, why in course.get("left", {}).items()]
    lines += [f"| {name} | - | - | - | {reason} | - |" for name, reason in course["missing"].items()]
    return "\n".join(lines)


def _text(value: float) -> str:
    """Three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
