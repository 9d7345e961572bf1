"""``python -m tests.simulation --seeds 10000``: all worlds; ``--world leases --seed 7``: one seed, step by step."""

from __future__ import annotations

import argparse
import json
import os
import sys

from consumer.cli.output import until_unread
from tests.simulation.arguments import at_least_one
from tests.simulation.campaign import Campaign, seeds_of
from tests.simulation.seeds import WORLDS, play


def main() -> int:
    """Play what is asked for; 1 where a seed is red, 130 where the run was interrupted."""
    parser = _parser()
    options = parser.parse_args()
    if options.seed is not None:
        if options.world is None:
            parser.error("--seed means another play in each world: name one with --world")
        return _play_one(options.world, options.seed)
    tasks = seeds_of(options.seeds, options.start, options.world)
    campaign = Campaign(tasks, jobs=options.jobs, tell=_tell)
    campaign.run()
    print(campaign.table(), file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(campaign.as_json(), indent=2))
    return 1 if campaign.red else 0 if campaign.is_complete else 130


def _play_one(world: str, seed: int) -> int:
    outcome = play(world, seed, steps=100_000)
    print(outcome.draw)
    print(outcome.told())
    return int(outcome.is_red)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--world",
        choices=WORLDS,
        help="only this one (default: half leases, a quarter mixed, an eighth each of fleet and policies)",
    )
    parser.add_argument("--seeds", type=at_least_one, default=300, help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first one of each world")
    parser.add_argument(
        "--jobs", type=at_least_one, default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    parser.add_argument("--seed", type=int, help="this one of --world only, with its last 4,000 steps")
    return parser


if __name__ == "__main__":
    sys.exit(until_unread(main))
