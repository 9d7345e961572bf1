"""``python -m consumer.cli.config_table README.md`` writes the configuration table between its two marks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Final

from consumer.cli.settings import described
from consumer.config import describe_fields, range_text

__all__ = ["main", "placed", "render", "with_table"]

BEGIN: Final = "<!-- configuration table: made by `make config-table` from consumer/config.py, do not edit by hand -->"
END: Final = "<!-- end of the configuration table -->"


def render() -> str:
    """The table as Markdown: every setting of ``run``, then the fields that only code can set."""
    lines = [
        "| flag of `run` | field of `WorkerConfig` | default | range | what it does |",
        "| --- | --- | --- | --- | --- |",
    ]
    fields = {each["name"] for each in describe_fields()}
    code_only = [each for each in describe_fields() if not each["cli"]]
    for each in [*described(), *code_only]:
        flag = f"`{each['flag']}`" if each["cli"] else ""
        name = f"`{each['name']}`" if each["name"] in fields else ""
        doc = each["doc"].replace("|", "\\|")
        lines.append(f"| {flag} | {name} | {_default(each)} | {_range(each)} | {doc} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """``text`` with the table between its two marks. Raises ValueError where a mark is missing."""
    return placed(text, render(), begin=BEGIN, end=END)


def placed(text: str, table: str, *, begin: str, end: str) -> str:
    """``text`` with ``table`` between ``begin`` and ``end``. Raises ValueError where one of them is missing."""
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the text lacks one of the two marks, {begin} and {end}")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def _default(each: Mapping[str, Any]) -> str:
    default = each["default"]
    if default is MISSING:
        return "required"
    if default is None:
        return ""
    text = f"{default:,g}" if isinstance(default, float) else f"{default:,}" if type(default) is int else str(default)
    return f"{text} {each['unit']}".rstrip()


def _range(each: Mapping[str, Any]) -> str:
    if each["choices"]:
        return ", ".join(each["choices"])
    return range_text(each["between"], each["unit"]).replace(" and ", " to ") if each["between"] else ""


def main(arguments: Sequence[str]) -> int:
    """Rewrite the file in place."""
    path = Path(arguments[0])
    path.write_text(with_table(path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
