"""No clock but the given one, no queue without a bound, no swallowed exception, no host or machine in the tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT, modules, tracked, tree_of

CLOCK_MODULES = ("time",)
CLOCK_CALLS = re.compile(
    r"^(?:time\.\w+|asyncio\.(?:sleep|timeout|timeout_at|wait_for)|(?:datetime|date)\.(?:now|today|utcnow)|"
    r".*\bloop\w*(?:\(\))?\.(?:time|call_later|call_at)|threading\.Timer)$"
)
# Who may look at a real clock, and why.
CLOCKS = {
    "consumer/clock.py": "it is the clock",
    "lease_store/dynamodb.py": "it can't know consumer's Clock; its sleep comes in by the constructor",
    "consumer/testing/virtual_time.py": "it is the clock of a simulation: its loop's time and timers are virtual",
}
ALL = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in modules()]


def _place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def _clocks(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and CLOCK_CALLS.match(ast.unparse(node)):
            yield f"{_place(path, node)} {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and node.module in CLOCK_MODULES:
            yield f"{_place(path, node)} from {node.module}"


@pytest.mark.parametrize("path", ALL)
def test_time_comes_in_by_the_constructor(path: Path):
    found = list(_clocks(path))
    if str(path.relative_to(ROOT)) in CLOCKS:
        assert found, "an exception that is not needed any more"
    else:
        assert found == []


def _calls(path: Path, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names:
            yield node


# Queues whose bound is not an argument, and what bounds them.
UNBOUNDED = {
    "consumer/delivery/giving_up.py": "nothing more of a shard is taken while 1,000 records are on their way out",
    "consumer/delivery/batching.py": "what was taken: a batch, or max_ahead_records with lanes, parked ones included",
    "consumer/delivery/lane.py": "pieces of one batch",
    "consumer/delivery/threads.py": "one call a shard is in hand or waits, so it is bounded by the leases held",
    "consumer/leasing/seam.py": "begins and stops of tenures, each delivered on the loop's next turn, in order",
    "consumer/shards/budget.py": "one grant a shard waits, so it is bounded by the leases held",
    "consumer/streams/decode_line.py": "one reply a read, so it is bounded by the reads that workers have under way",
    "consumer/cli/signals.py": "signals of one drain, as many as somebody sends; put() must be reentrant",
}


@pytest.mark.parametrize("path", ALL)
def test_every_queue_has_a_bound(path: Path):
    found = [
        f"{_place(path, call)} {ast.unparse(call)}"
        for call in _calls(path, "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue", "deque")
        if not _is_bounded(call)
    ]
    if str(path.relative_to(ROOT)) in UNBOUNDED:
        assert found, "an exception that is not needed any more"
    else:
        assert found == []


def _is_bounded(call: ast.Call) -> bool:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if ast.unparse(call.func).rpartition(".")[2] == "deque":
        bound = keywords.get("maxlen") or (call.args[1] if len(call.args) > 1 else None)
    else:
        bound = keywords.get("maxsize") or (call.args[0] if call.args else None)
    return bound is not None and not (isinstance(bound, ast.Constant) and bound.value in (None, 0))


@pytest.mark.parametrize("path", ALL)
def test_no_exception_is_swallowed(path: Path):
    """``contextlib.suppress`` of a named exception says what is expected; a handler that only passes hides the rest."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{_place(path, node)}: a bare except"
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            silent = all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)
            assert not (broad and silent), f"{_place(path, node)}: swallows {ast.unparse(node.type)}"
    for call in _calls(path, "suppress"):
        assert not {"Exception", "BaseException"} & {ast.unparse(each) for each in call.args}, _place(path, call)


@pytest.mark.parametrize("path", ALL)
def test_nothing_is_left_unfinished(path: Path):
    marks = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
    assert [line for line in path.read_text().splitlines() if marks.search(line)] == []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
            # The one method that users write; `run` refuses a processor without it before it starts.
            assert path.name == "processor.py", _place(path, node)


# Written apart so that this file does not find itself.
HOSTS = re.compile(
    "|".join(
        (
            "pypi" + r"\.org",
            "python" + "hosted",
            "npm" + r"js\.",
            "registry" + r"\.\w+\.(?:org|com|net|io|dev)",
            "artifact" + "ory",
            "index" + "-url",
        )
    )
)
MACHINE = re.compile(
    "|".join((r"/home" + r"/\w", r"/root" + r"/", "/work" + "/main", "/work" + "/shared", "/opt" + "/wheels"))
)


def test_no_registry_and_no_machine_is_named_in_the_tree():
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if HOSTS.search(line) or MACHINE.search(line)
        ]
    assert found == []


def test_unit_tests_do_not_sleep():
    for path in modules("tests/unit", "tests/contract", "tests/simulation"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
                raise AssertionError(f"{_place(path, node)}: waits for luck; use a signal or virtual time")
