"""The table of promises in tests/README.md quotes the README as it is, and names tests that are there."""

from __future__ import annotations

import ast
import re
from typing import Final

from tests.house.tree import ROOT, tree_of

SECTION: Final = "## What the README promises"
ROW: Final = re.compile(r"^\| (?!promise|---)(.+?) \| (.+?) \|$", re.MULTILINE)
TEST: Final = re.compile(r"`([\w/.]+)::(test_\w+)`")


def _rows() -> list[tuple[str, str]]:
    text = (ROOT / "tests/README.md").read_text().partition(SECTION)[2].partition("\n## ")[0]
    return ROW.findall(text)


def test_each_promise_stands_in_the_readme_in_these_words() -> None:
    readme = " ".join((ROOT / "README.md").read_text().replace("**", "").split())
    assert len(_rows()) > 20
    assert [promise for promise, _ in _rows() if promise not in readme] == []


def test_each_test_of_a_promise_is_where_the_table_says() -> None:
    for promise, tests in _rows():
        named = TEST.findall(tests)
        assert named or tests.startswith("the same "), promise
        for file, name in named:
            tree = tree_of(ROOT / "tests" / file)
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert name in functions, f"{promise}: {file}::{name}"
