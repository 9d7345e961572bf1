"""One-way imports, no cycle, sizes that can be read, names that say something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT, imports, module_name, modules, tracked, tree_of

FILE_LINES = 400
FUNCTION_LINES = 80
BANNED = re.compile(r"(?:^|_)(?:helpers?|utils?|utilities|managers?|data|info)(?:_|$)")
# Each with its reason; a name that the outside world gave us is not ours to choose.
ALLOWED_NAMES = {"data_trimmed": "AWS's own word: TrimmedDataAccessException"}

ALL = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in modules()]


@pytest.mark.parametrize("path", ALL)
def test_a_file_is_short_enough_to_be_read(path: Path):
    assert len(path.read_text().splitlines()) <= FILE_LINES


def test_so_are_files_of_tests_and_examples():
    long = [path for path in tracked() if path.suffix == ".py" and len(path.read_text().splitlines()) > FILE_LINES]
    assert [str(path.relative_to(ROOT)) for path in long] == []


def test_what_tests_share_is_in_no_file_of_tests():
    """Whoever moves a test would break another file's, and nobody looks for a stage between tests."""
    shared = re.compile(r"^ *(?:from|import) tests\.[\w.]*\btest_\w+", re.MULTILINE)
    files = {path: path.read_text() for path in tracked() if path.suffix == ".py"}
    assert {str(path.relative_to(ROOT)): found for path, text in files.items() if (found := shared.findall(text))} == {}


@pytest.mark.parametrize("path", ALL)
def test_a_function_fits_a_screen(path: Path):
    long = {
        f"{node.name} (line {node.lineno})": length
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", ALL)
def test_exports_are_sorted_and_there(path: Path):
    tree = tree_of(path)
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            names = ast.literal_eval(node.value)
            assert names == sorted(names, key=_export_order)
            assert len(names) == len(set(names))
            assert set(names) <= _defined(tree)
            return
    assert path.name in ("__init__.py", "__main__.py"), "every module says what it offers in __all__"


def _export_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_lease_store_has_never_heard_of_consumer():
    for path in modules("lease_store"):
        assert not [name for name in imports(path) if name.partition(".")[0] == "consumer"], path


def test_the_packages_import_nothing_of_the_tests_or_examples():
    for path in modules():
        assert not [name for name in imports(path) if name.partition(".")[0] in ("tests", "examples", "deploy")], path


def test_no_import_cycle():
    known = {module_name(path): path for path in modules()}
    graph = {
        name: {other for other in imports(path, at_import_time=True) if other in known} for name, path in known.items()
    }
    for name, targets in graph.items():
        targets.discard(name)
    while graph:
        leaves = {name for name, targets in graph.items() if not targets & graph.keys()}
        assert leaves, f"an import cycle among {sorted(graph)}"
        graph = {name: targets for name, targets in graph.items() if name not in leaves}


def _names(path: Path) -> Iterator[str]:
    yield path.stem
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            yield re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower()


@pytest.mark.parametrize("path", ALL)
def test_a_module_or_class_is_named_for_what_it_knows(path: Path):
    assert [name for name in _names(path) if BANNED.search(name) and name not in ALLOWED_NAMES] == []


def test_the_top_of_the_tree_holds_what_was_agreed():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders - {"dist", "build"} <= {"consumer", "lease_store", "examples", "tests", "deploy"}
