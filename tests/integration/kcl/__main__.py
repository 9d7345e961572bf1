"""Every edition of the KCL in every play: ``python -m tests.integration.kcl [--edition E] [--play P] [--quick]``.

Ends with 1 where something was found. ``--json FILE`` keeps all figures, ``--keep FOLDER`` the members' logs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from consumer.testing.ministack import Ministack, MinistackMissing
from tests.integration.kcl.java import EDITIONS, JavaMissing
from tests.integration.kcl.mixed_stage import mixed_fleet
from tests.integration.kcl.play import Performance
from tests.integration.kcl.plays import MIXED, ONLY, PLAYS, perform
from tests.integration.kcl.timers import DEFAULT, QUICK, Timers

__all__ = ["main", "table"]


async def _perform_all(
    editions: Sequence[str], plays: Sequence[str], timers: Timers, folder: Path
) -> list[Performance]:
    performances = []
    with Ministack.start() as ministack:
        for edition in editions:
            for play in plays:
                if edition not in ONLY.get(play, EDITIONS):
                    continue
                logs = folder / f"{edition} {play}"
                logs.mkdir(parents=True, exist_ok=True)
                async with mixed_fleet(logs, ministack, edition, timers) as fleet:
                    performances.append(await perform(fleet, play, lambda line: print(line, flush=True)))
                    fleet.keep(logs)
    return performances


def table(performances: Sequence[Performance]) -> str:
    """One line a step, then what was found."""
    lines = [f"{'edition':<10} {'play':<13} {'step':<36} {'seconds':>8}  figures"]
    for each in performances:
        for step in each.steps:
            figures = ", ".join(f"{name} {value}" for name, value in step.figures.items())
            lines.append(f"{each.edition:<10} {each.play:<13} {step.name:<36} {step.seconds:>8.1f}  {figures}")
    found = [f"{each.edition} {each.play}: {finding}" for each in performances for finding in each.findings]
    return "\n".join([*lines, "", *(found or ["Nothing was found."])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.kcl", description=__doc__)
    parser.add_argument("--edition", action="append", choices=EDITIONS, help="may repeat (default: all)")
    of_plays = f"may repeat (default: {' and '.join(MIXED)})"
    parser.add_argument("--play", action="append", choices=tuple(PLAYS), help=of_plays)
    parser.add_argument("--quick", action="store_true", help="the shortened timers of CI in place of the defaults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every figure there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the members' logs and all exchanges there")
    told = parser.parse_args(arguments)
    timers = QUICK if told.quick else DEFAULT
    with ExitStack() as stack:
        folder = told.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            performances = asyncio.run(
                _perform_all(told.edition or EDITIONS, told.play or MIXED, timers, folder.absolute())
            )
        except (JavaMissing, MinistackMissing) as error:
            print(error, file=sys.stderr)
            return 2
    if told.json is not None:
        kept = {"timers": asdict(timers), "performances": [asdict(each) for each in performances]}
        told.json.write_text(json.dumps(kept, indent=1) + "\n")
    print(table(performances))
    return 1 if any(each.findings for each in performances) else 0


if __name__ == "__main__":
    sys.exit(main())
