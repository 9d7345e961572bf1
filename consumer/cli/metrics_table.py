"""``python -m consumer.cli.metrics_table deploy/README.md`` writes the table of metrics between its two marks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from consumer.cli.made_table import placed, rewrite
from consumer.operate.prometheus import PrometheusHook

__all__ = ["render", "with_table"]

BEGIN: Final = "<!-- table of metrics: made by `make config-table` from consumer/operate/prometheus.py -->"
END: Final = "<!-- end of the table of metrics -->"


def render() -> str:
    """The table as Markdown: every metric of the registry, by name."""
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.doc} |"
        for each in sorted(PrometheusHook().described, key=lambda metric: metric.name)
    ]
    return "\n".join(["| metric | kind | labels | what it says |", "| --- | --- | --- | --- |", *rows])


def with_table(text: str) -> str:
    """``text`` with the table between its two marks. Raises ValueError where a mark is missing."""
    return placed(text, render(), begin=BEGIN, end=END)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), with_table)
