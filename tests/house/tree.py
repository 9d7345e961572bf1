"""The project's own files as syntax trees, for the tests of the house."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "imports", "module_name", "modules", "tracked", "tree_of"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("consumer", "lease_store")
_LEFT_OUT = {".git", ".venv", ".venv-ministack", "node_modules", "dist", "build", "target", "__pycache__"}


def modules(*folders: str) -> list[Path]:
    """Every Python file below ``folders`` (default: both packages), sorted."""
    return sorted(path for folder in folders or PACKAGES for path in (ROOT / folder).rglob("*.py"))


def tracked() -> Iterator[Path]:
    """Every file of the project, caches and environments left out."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(
            part in _LEFT_OUT or part.endswith(("_cache", ".egg-info")) or part == ".hypothesis" for part in parts
        )
        if path.is_file() and not hidden:
            yield path


@cache
def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def module_name(path: Path) -> str:
    """``consumer/streams/__init__.py`` is ``consumer.streams``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, at_import_time: bool = False) -> set[str]:
    """The modules that a file imports; ``at_import_time`` leaves out those in functions and under TYPE_CHECKING."""
    found: set[str] = set()
    _collect(tree_of(path), found, at_import_time)
    return found


def _collect(node: ast.AST, found: set[str], at_import_time: bool) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            found.update(alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            # ``from package import name`` may mean the module package.name: both are noted.
            found.add(child.module)
            found.update(f"{child.module}.{alias.name}" for alias in child.names)
        elif not (at_import_time and _is_deferred(child)):
            _collect(child, found, at_import_time)


def _is_deferred(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
