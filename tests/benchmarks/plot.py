"""The picture in the README: records of a CPU second on each course, drawn from stored results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Bar", "bars_of", "draw"]

# Mid-tones and no background: legible on a white page and on a black one.
_INK: Final = "#6e7781"
_OURS: Final = "#2f81f7"
_OURS_VARIED: Final = "#79b0f5"
_OTHERS: Final = "#8b949e"
_LIMIT: Final = "#b08800"
_COLOURS: Final = {"leasehold": _OURS, "plain": _OURS_VARIED, "tuned": _OURS_VARIED, "limit": _LIMIT}


@dataclass(frozen=True, slots=True)
class Bar:
    """One contender: thousands of records a CPU second, and what is written beside it."""

    name: str
    label: str
    thousands: float
    note: str


def bars_of(course: Mapping[str, Any]) -> list[Bar]:
    """The fastest last, as horizontal bars are drawn from below; beside each how many times boto3 it is."""
    contenders = course["contenders"]
    loop = contenders.get("boto3", {}).get("records_per_cpu_second")
    bars = []
    for name, each in contenders.items():
        rate = each["records_per_cpu_second"]
        times = f",  {rate / loop:.1f} x boto3" if loop and name != "boto3" else ""
        bars.append(Bar(name, each["label"], rate / 1000, f"{rate / 1000:,.{int(rate < 10_000)}f} k{times}"))
    return sorted(bars, key=lambda bar: bar.thousands)


def draw(courses: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """An SVG (or PNG, by the path's suffix) with a panel for each course. Needs matplotlib, of the group bench."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    # The same results make the same file: no date in it, no random names.
    mpl.rcParams.update({"svg.hashsalt": "leasehold", "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK})
    drawn = [(course["title"], bars_of(course)) for course in courses.values()]
    heights = [len(bars) + 1.2 for _, bars in drawn]
    figure, panels = pyplot.subplots(
        len(drawn), 1, figsize=(7.6, 0.27 * sum(heights) + 0.5), gridspec_kw={"height_ratios": heights}, squeeze=False
    )
    for (title, bars), axes in zip(drawn, panels[:, 0], strict=True):
        colours = [_COLOURS.get(bar.name, _OTHERS) for bar in bars]
        drawn_bars = axes.barh([bar.label for bar in bars], [bar.thousands for bar in bars], color=colours, height=0.7)
        axes.bar_label(drawn_bars, [bar.note for bar in bars], padding=4, color=_INK)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=_INK)
        axes.set_xlim(0, max(bar.thousands for bar in bars) * 1.3)
        axes.tick_params(length=0, colors=_INK)
        axes.set_xticks([])
        for side in axes.spines.values():
            side.set_visible(False)
    figure.supxlabel("thousands of records a CPU second of the whole process; loops keep no leases", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    pyplot.close(figure)
