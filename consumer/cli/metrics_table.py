"""``python -m consumer.cli.metrics_table deploy/README.md`` writes the table of metrics between its two marks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from consumer.cli.made_table import placed, rewrite
from consumer.operate.meters import MetricDoc, Together
from consumer.operate.prometheus import PrometheusHook
from consumer.operate.supervisor.page import DESCRIBED

__all__ = ["render", "with_table"]

BEGIN: Final = "<!-- table of metrics: made by `make config-table` from consumer/operate/prometheus.py -->"
END: Final = "<!-- end of the table of metrics -->"


_TOGETHER: Final[Mapping[Together, str]] = {
    "sum": "added",
    "max": "the largest",
    "min": "the least",
    "min_above_zero": "the least above 0",
}


def render() -> str:
    """The table as Markdown: every metric of a worker and of a supervisor, by name."""
    rows = [(each, _TOGETHER[each.together]) for each in PrometheusHook().described]
    rows += [(each, "the supervisor's own") for each in DESCRIBED]
    return "\n".join(
        [
            "| metric | kind | labels | of several processes | what it says |",
            "| --- | --- | --- | --- | --- |",
            *(_row(metric, together) for metric, together in sorted(rows, key=lambda row: row[0].name)),
        ]
    )


def _row(metric: MetricDoc, together: str) -> str:
    return f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {together} | {metric.doc} |"


def with_table(text: str) -> str:
    """``text`` with the table between its two marks. Raises ValueError where a mark is missing."""
    return placed(text, render(), begin=BEGIN, end=END)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), with_table)
