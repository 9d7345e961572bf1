"""``python -m consumer.cli.config_table README.md`` writes the configuration table between its two marks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, Final

from consumer.cli.made_table import placed, rewrite
from consumer.cli.settings import described
from consumer.config import describe_fields
from consumer.setting import range_text

__all__ = ["render", "shown_default", "with_table"]

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
        flag = ", ".join(f"`{flag}`" for flag in (each["flag"], each["negated"]) if flag and each["cli"])
        name = f"`{each['name']}`" if each["name"] in fields else ""
        doc = each["doc"].replace("|", "\\|")
        lines.append(f"| {flag} | {name} | {shown_default(each)} | {_range(each)} | {doc} |")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """``text`` with the table between its two marks. Raises ValueError where a mark is missing."""
    return placed(text, render(), begin=BEGIN, end=END)


def shown_default(each: Mapping[str, Any]) -> str:
    """A field's default as the pages show it; empty where there is none."""
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


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), with_table)
