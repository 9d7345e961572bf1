"""The table of promises in tests/README.md quotes the README as it is, and names tests that are there."""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from tests.house.tree import ROOT, tree_of

SECTION: Final = "## What the README promises"
ROW: Final = re.compile(r"^\| (?!promise|---)(.+?) \| (.+?) \|$", re.MULTILINE)
TEST: Final = re.compile(r"`([\w/.]+)::(test_\w+)`")
# Headers of tables and what is said of others, of measurements and of what is not there.
NO_PROMISE: Final = (
    "A processor's methods, all but the first optional",
    "| method |",
    "What is not promised",
    "Not checked against real AWS",
    "How fast it is",
    "One Python process computes on one CPU at a time",
    "The way there and back step by step",
)


def _rows() -> list[tuple[str, str]]:
    text = (ROOT / "tests/README.md").read_text().partition(SECTION)[2].partition("\n## ")[0]
    return ROW.findall(text)


def test_each_promise_stands_in_the_readme_in_these_words() -> None:
    readme = " ".join((ROOT / "README.md").read_text().replace("**", "").split())
    assert len(_rows()) > 20
    assert [promise for promise, _ in _rows() if promise not in readme] == []


@pytest.mark.parametrize(
    "section",
    [
        *("Write a processor", "Sources and positions", "Checkpoints", "What is promised", "From the KCL", "Run it"),
        *("Several processes on one machine", "When things fail"),
    ],
)
def test_each_paragraph_that_promises_has_a_row(section: str) -> None:
    text = (ROOT / "README.md").read_text().replace("**", "").partition(f"## {section}\n")[2].partition("\n## ")[0]
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = [" ".join(part.split()) for part in re.split(r"\n\n|\n(?=- |\| `)", text) if part.strip()]
    promises = [promise for promise, _ in _rows()]
    assert len(parts) > 1
    assert [part for part in parts if not part.startswith(NO_PROMISE) and not any(p in part for p in promises)] == []


def test_each_test_of_a_promise_is_where_the_table_says() -> None:
    for promise, tests in _rows():
        named = TEST.findall(tests)
        assert named or tests.startswith("the same "), promise
        for file, name in named:
            tree = tree_of(ROOT / "tests" / file)
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert name in functions, f"{promise}: {file}::{name}"
