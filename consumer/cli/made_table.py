"""Tables of our pages that are made from code: where one stands in a text, and how its file is written anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["placed", "rewrite"]


def placed(text: str, table: str, *, begin: str, end: str) -> str:
    """``text`` with ``table`` between ``begin`` and ``end``. Raises ValueError where one of them is missing."""
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the text lacks one of the two marks, {begin} and {end}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def rewrite(path: Path, with_table: Callable[[str], str]) -> None:
    """Put the table of today into the page at ``path``."""
    path.write_text(with_table(path.read_text()))
