"""The table of the catalogue in tests/README.md names every failure once, and tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final

from tests.house.tree import ROOT, modules, tree_of

# The numbers of the field study; those that are missing here were missing there.
_MISSING: Final = {7, 16, 23, 36, 37, 42, 46, 48, 52, 55, 58, 61, 62, 67, 68, 84, 95, 100}
NUMBERS: Final = frozenset(range(1, 102)) - _MISSING
NAME = re.compile(r"test_c(\d+)_\w+")
ROW = re.compile(r"^\| C(\d+) \| (.+?) \| (.*?) \|$", re.MULTILINE)
SECTION = "## The catalogue of failures"


def _rows() -> list[tuple[int, str, str]]:
    text = (ROOT / "tests/README.md").read_text().partition(SECTION)[2].partition("\n## ")[0]
    return [(int(number), failure, tests) for number, failure, tests in ROW.findall(text)]


@cache
def _tests() -> dict[str, str]:
    """Every test whose name carries a number, with its file below tests/."""
    found: dict[str, str] = {}
    for path in modules("tests"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and NAME.fullmatch(node.name):
                assert node.name not in found, f"two tests are called {node.name}"
                found[node.name] = path.relative_to(ROOT / "tests").as_posix()
    return found


def test_all_83_failures_are_there_and_each_once() -> None:
    numbers = [number for number, *_ in _rows()]
    assert len(NUMBERS) == 83
    assert numbers == sorted(NUMBERS)


def test_each_row_names_a_test_of_its_number_or_says_why_there_is_none() -> None:
    for number, _, tests in _rows():
        named = NAME.findall(tests)
        assert {int(each) for each in named} <= {number}, f"C{number}"
        assert named or tests.startswith("no test: "), f"C{number} has neither a test nor a reason"


def test_each_test_that_a_row_names_is_where_it_says() -> None:
    for number, _, tests in _rows():
        for file, name in re.findall(r"`([\w/.]*)::(test_c\w+)`", tests):
            assert _tests().get(name) == file, f"C{number}: {file}::{name}"
        assert len(NAME.findall(tests)) == tests.count("::"), f"C{number}: a test without its file"


def test_each_test_that_carries_a_number_stands_in_the_table() -> None:
    named = {match[0] for *_, tests in _rows() for match in NAME.finditer(tests)}
    assert sorted(_tests().keys() - named) == []
