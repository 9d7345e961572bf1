"""Pages over the network and decoded, without a worker around it: CPU time of each way, of those not taken, too."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.canned.places import Iterator
from tests.benchmarks.processes import ROOT, Canned, progress
from tests.benchmarks.reckoning import lower_quartile
from tests.benchmarks.results import goal_row
from tests.benchmarks.scale.reading_ways import WAYS

__all__ = ["measure"]

_ROUNDS: Final = 9
_RECORDS: Final = 1000
# Calls of a turn: a full page of boto3 takes as long as fifteen of the others'.
_CALLS: Final = {"full": 24, "empty": 200}
_SLOW_CALLS: Final = {"full": 3, "empty": 40}
_PLACES: Final = {"full": Iterator("busy-64", 0, 0).text, "empty": Iterator("idle-1000", 0, 0).text}


class _Way:
    """A process that reads when it is told to."""

    def __init__(self, name: str, url: str, log: Path) -> None:
        self._calls = _SLOW_CALLS if name == "boto3" else _CALLS
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.scale.reading_ways", name, url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("wb"),
            text=True,
        )
        self._log = log

    def turn(self, kind: str) -> float:
        """CPU microseconds of one call. Raises RuntimeError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(_PLACES[kind], self._calls[kind], file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A way to read has ended: {self._log.read_text()[-2000:]}")
        return 1e6 * float(line) / self._calls[kind]

    def end(self) -> None:
        """Its standard input ends, and so does it."""
        self._process.communicate(timeout=10)


def measure() -> dict[str, Any]:
    """All ways in turns; the lower quartile of the turns of each, after one that is not counted."""
    turns: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in WAYS} for kind in _PLACES}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        canned = stack.enter_context(Canned(Path(folder)))
        ways = {}
        for number, name in enumerate(WAYS):
            ways[name] = _Way(name, f"{canned.url}/", Path(folder) / f"way-{number}.log")
            stack.callback(ways[name].end)
        for round_ in range(_ROUNDS + 1):
            for kind, name in ((kind, name) for kind in _PLACES for name in WAYS):
                cost = ways[name].turn(kind)
                if round_:
                    turns[kind][name].append(cost)
    page = {name: lower_quartile(costs) / _RECORDS for name, costs in turns["full"].items()}
    poll = {name: lower_quartile(costs) for name, costs in turns["empty"].items()}
    for name in WAYS:
        progress(f"  {name}: {page[name]:.2f} us a record of a full page, {poll[name]:.0f} us an empty page")
    direct, limit, boto = "ours, direct", "a bare socket", "boto3"
    goals = [
        goal_row(
            "a page of Kinesis, read and decoded, against a bare socket",
            page[direct] / page[limit],
            1.2,
            "x",
            at_least=False,
        ),
        goal_row("an empty page, against boto3", poll[direct] / poll[boto], 0.12, "x", at_least=False),
    ]
    figures = {"microseconds_a_record": page, "microseconds_an_empty_page": poll, "turns": turns, "rounds": _ROUNDS}
    return {"figures": figures, "goals": goals}
