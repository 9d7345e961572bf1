"""``python -m consumer.cli.metrics_table deploy/README.md`` writes the table of metrics between its two marks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from consumer.cli.config_table import placed
from consumer.operate.prometheus import PrometheusHook

__all__ = ["main", "render", "with_table"]

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


def main(arguments: Sequence[str]) -> int:
    """Rewrite the file in place."""
    path = Path(arguments[0])
    path.write_text(with_table(path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
