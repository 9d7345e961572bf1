"""The whole table by hand: ``python -m tests.simulation.mutants --seeds 100 --jobs 2``; each mutant over all seeds.

Not in ``__main__``, which the processes of a pool can't import.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import warnings
from dataclasses import asdict
from typing import Final

from tests.simulation.mutants.catalogue import MUTANTS
from tests.simulation.mutants.findings import Finding
from tests.simulation.mutants.hunt import control, hunt
from tests.simulation.mutants.mutant import MOST_SEEDS

__all__ = ["main"]

_HEAD: Final = """\
| mutant | the rule it breaks | world | seeds | caught | caught by |
| --- | --- | --- | --: | --: | --- |"""


def _one(job: tuple[str, int]) -> tuple[Finding, list[str]]:
    """One mutant over ``seeds`` seeds, and its mix without it over as many."""
    logging.disable(logging.CRITICAL)
    # A run ends at its first violation, and with it coroutines that a killed worker was about to start.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    name, seeds = job
    mutant = next(each for each in MUTANTS if each.name == name)
    return hunt(mutant, seeds=range(seeds), to_the_end=True), control(mutant, seeds=range(seeds))


def _shown(finding: Finding) -> str:
    caught = f"{finding.caught} of {finding.tried}"
    return (
        f"| {finding.mutant} | {finding.rule} | {finding.world} | {finding.verdict} | {caught} | {finding.invariant} |"
    )


def main() -> int:
    """Print the table (or JSON); 1 where a mutant was not caught in time, or its mix is red without it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="for each mutant, and for its mix without it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("names", nargs="*", help="only mutants whose name holds one of these")
    options = parser.parse_args()
    chosen = [each for each in MUTANTS if not options.names or any(name in each.name for name in options.names)]
    found: list[Finding] = []
    red: list[str] = []
    if not options.json:
        print(_HEAD, flush=True)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for finding, without in pool.imap(_one, [(each.name, options.seeds) for each in chosen]):
            found.append(finding)
            red += [f"{finding.mutant} is red without it, {line}" for line in without]
            if finding.seeds is None or finding.seeds > MOST_SEEDS:
                red.append(f"{finding.mutant} was not caught within {MOST_SEEDS} seeds")
            if not options.json:
                print(_shown(finding), flush=True)
    if options.json:
        print(json.dumps({"mutants": [asdict(each) for each in found], "red": red}, indent=2))
    else:
        seconds = sum(each.cpu_seconds for each in found)
        print(*red, f"{len(found)} mutants, {options.seeds} seeds each, {seconds:.0f} s of CPU", sep="\n")
    return min(len(red), 1)
