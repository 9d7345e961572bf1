"""``python -m tests.simulation.scale``: the large fleet, by hand; progress to stderr, figures to stdout."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from consumer.cli.output import until_unread
from tests.simulation.arguments import above_zero, at_least_one
from tests.simulation.scale.world import GOAL_SECONDS, Scale, most_moves, run_scale


def main() -> int:
    """Run it; 1 where a goal is missed, 130 where the run was interrupted."""
    scale, as_json = _asked_for()
    logging.disable(logging.CRITICAL)
    figures = run_scale(scale, lambda line: print(line, file=sys.stderr, flush=True))
    if not figures["complete"]:
        print("Interrupted.", file=sys.stderr)
    print(json.dumps(figures, indent=2) if as_json else _table(figures))
    for sentence in figures["missed"]:
        print(f"Missed: {sentence}", file=sys.stderr)
    return 1 if figures["missed"] else 0 if figures["complete"] else 130


def _asked_for() -> tuple[Scale, bool]:
    usual = Scale()
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scale", description=__doc__)
    parser.add_argument("--shards", type=at_least_one, default=usual.shards)
    parser.add_argument("--workers", type=at_least_one, default=usual.workers)
    parser.add_argument("--lost", type=at_least_one, help="workers that die at one instant (default: a tenth)")
    parser.add_argument("--failover-seconds", type=above_zero, default=usual.failover_seconds)
    parser.add_argument(
        "--read-units",
        type=above_zero,
        default=usual.scan_read_units_per_second,
        help="scan_read_units_per_second of every worker",
    )
    parser.add_argument("--steady-seconds", type=above_zero, default=usual.steady_seconds)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    lost = max(1, options.workers // 10) if options.lost is None else options.lost
    if lost >= options.workers:
        parser.error(f"--lost {lost} of --workers {options.workers} leaves nobody to take over")
    scale = Scale(
        shards=options.shards,
        workers=options.workers,
        lost=lost,
        failover_seconds=options.failover_seconds,
        scan_read_units_per_second=options.read_units,
        steady_seconds=options.steady_seconds,
        seed=options.seed,
    )
    return scale, options.json


def _table(figures: dict[str, Any]) -> str:
    head = (
        "phase",
        f"balanced after (goal {GOAL_SECONDS:g} s)",
        "moves (goal)",
        "least",
        "scan period",
        "refused writes",
    )
    lines = [_row(*head, "reads/h", "writes/h"), _row(*["---"] * 8)]
    for phase in figures["phases"]:
        after = phase["balanced_after_seconds"]
        hours = phase["virtual_seconds"] / 3600
        most = most_moves(phase["least_moves"], phase["placed"])
        row = (
            phase["name"],
            "not in 900 s" if after is None else f"{after:.1f} s",
            f"{phase['moves']:,} ({most:,})",
            f"{phase['least_moves']:,}",
            f"{phase['scan_period_seconds']:.1f} s",
            f"{phase['refused_writes']:,}",
            f"{phase['read_units'] / hours / 1e6:.1f} M RCU",
            f"{phase['write_units'] / hours / 1e6:.1f} M WCU",
        )
        lines.append(_row(*row))
    lines.append(f"{figures['cpu_seconds']:.0f} s of CPU, {figures['peak_memory_mib']:.0f} MiB at most")
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(until_unread(main))
