"""``python -m tests.simulation.scale``: the large fleet, by hand; progress to stderr, figures to stdout."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from consumer.cli.output import until_unread
from tests.simulation.scale.world import Scale, run_scale


def main() -> int:
    usual = Scale()
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scale", description=__doc__)
    parser.add_argument("--shards", type=int, default=usual.shards)
    parser.add_argument("--workers", type=int, default=usual.workers)
    parser.add_argument("--lost", type=int, default=usual.lost, help="workers that die at one instant")
    parser.add_argument("--failover-seconds", type=float, default=usual.failover_seconds)
    parser.add_argument(
        "--read-units",
        type=float,
        default=usual.scan_read_units_per_second,
        help="scan_read_units_per_second of every worker",
    )
    parser.add_argument("--steady-seconds", type=float, default=usual.steady_seconds)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    scale = Scale(
        shards=options.shards,
        workers=options.workers,
        lost=options.lost,
        failover_seconds=options.failover_seconds,
        scan_read_units_per_second=options.read_units,
        steady_seconds=options.steady_seconds,
        seed=options.seed,
    )
    figures = run_scale(scale, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(figures, indent=2) if options.json else _table(figures))
    return 0


def _table(figures: dict[str, Any]) -> str:
    lines = ["| phase | balanced after | moves (least) | scan period | refused writes | reads/h | writes/h |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for phase in figures["phases"]:
        after = phase["balanced_after_seconds"]
        hours = phase["virtual_seconds"] / 3600
        lines.append(
            f"| {phase['name']} | {'not in 900 s' if after is None else f'{after:.1f} s'} "
            f"| {phase['moves']:,} ({phase['least_moves']:,}) | {phase['scan_period_seconds']:.1f} s "
            f"| {phase['refused_writes']:,} | {phase['read_units'] / hours / 1e6:.1f} M RCU "
            f"| {phase['write_units'] / hours / 1e6:.1f} M WCU |"
        )
    lines.append(f"{figures['cpu_seconds']:.0f} s of CPU, {figures['peak_memory_mib']:.0f} MiB at most")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(until_unread(main))
