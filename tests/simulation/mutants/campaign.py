"""The whole table by hand: ``python -m tests.simulation.mutants --seeds 100 --jobs 2``; each mutant over all seeds.

Not in ``__main__``, which the processes of a pool can't import.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import signal
import sys
import warnings
from dataclasses import asdict
from typing import Final

from tests.simulation.arguments import at_least_one
from tests.simulation.mutants.catalogue import MUTANTS
from tests.simulation.mutants.findings import Finding
from tests.simulation.mutants.hunt import control, hunt
from tests.simulation.mutants.mutant import MOST_SEEDS, Mutant

__all__ = ["main"]

_HEAD: Final = """\
| mutant | the rule it breaks | world | seeds | caught | caught by |
| --- | --- | --- | --: | --: | --- |"""


def _one(job: tuple[str, int]) -> tuple[Finding, list[str]]:
    """One mutant over ``seeds`` seeds, and its mix without it over as many; what is wrong with either."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that prints the table
    logging.disable(logging.CRITICAL)
    # A run ends at its first violation, and with it coroutines that a killed worker was about to start.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    name, seeds = job
    mutant = next(each for each in MUTANTS if each.name == name)
    finding = hunt(mutant, seeds=range(seeds), to_the_end=True)
    without = [f"{name} is red without it, {line}" for line in control(mutant, seeds=range(seeds))]
    return finding, without + _wrong(mutant, finding)


def _wrong(mutant: Mutant, finding: Finding) -> list[str]:
    if finding.calls == 0:
        return [f"{mutant.target} was never called: {mutant.name} says nothing"]
    if finding.seeds is None or finding.seeds > MOST_SEEDS:
        return [f"{mutant.name} was not caught within {min(finding.tried, MOST_SEEDS)} seeds"]
    if finding.invariant not in mutant.caught_by:
        return [f"{mutant.name} broke, but not by what it does: {finding.violation}"]
    return []


def _shown(finding: Finding) -> str:
    caught = f"{finding.caught} of {finding.tried}"
    return (
        f"| {finding.mutant} | {finding.rule} | {finding.world} | {finding.verdict} | {caught} | {finding.invariant} |"
    )


def main() -> int:
    """Print the table (or JSON); 1 where a mutant was not caught as it should, or its mix is red without it."""
    parser = _parser()
    options = parser.parse_args()
    chosen = [each for each in MUTANTS if not options.names or any(name in each.name for name in options.names)]
    if not chosen:
        parser.error(f"no mutant's name holds {' or '.join(map(repr, options.names))}")
    found: list[Finding] = []
    red: list[str] = []
    if not options.json:
        print(_HEAD, flush=True)
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        try:
            for finding, wrong in pool.imap(_one, [(each.name, options.seeds) for each in chosen]):
                found.append(finding)
                red += wrong
                if not options.json:
                    print(_shown(finding), flush=True)
        except KeyboardInterrupt:
            print(f"Interrupted after {len(found)} of {len(chosen)} mutants.", file=sys.stderr)
    if options.json:
        print(json.dumps({"mutants": [asdict(each) for each in found], "red": red}, indent=2))
    else:
        seconds = sum(each.cpu_seconds for each in found)
        print(*red, f"{len(found)} mutants, {options.seeds} seeds each, {seconds:.0f} s of CPU", sep="\n")
    return 1 if red else 0 if len(found) == len(chosen) else 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.mutants",
        description="Each safeguard of the product switched off, over many seeds, and its faults with it in place.",
    )
    parser.add_argument("--seeds", type=at_least_one, default=100, help="for each mutant, and for its mix without it")
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("names", nargs="*", help="only mutants whose name holds one of these")
    return parser
