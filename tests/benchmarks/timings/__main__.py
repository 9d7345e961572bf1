"""``python -m tests.benchmarks.timings``: progress on standard error, one JSON document on standard output."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from consumer.cli.output import until_unread
from consumer.testing.ministack import MinistackMissing, MinistackNotReady
from tests.benchmarks.timings import cold_start, hand_off, handlers, idle, notice, parent_to_child, takeover
from tests.benchmarks.timings.options import Options
from tests.benchmarks.timings.stage import CLOCK, progress

Measure = Callable[[Options], Awaitable[dict[str, Any]]]

MEASURES: Mapping[str, Measure] = {
    "cold_start": cold_start.measure,
    "takeover": takeover.measure,
    "hand_off_pause": hand_off.measure,
    "hand_off_notice": notice.measure,
    "parent_end_to_child": parent_to_child.measure,
    "wave_of_ends": parent_to_child.measure_wave,
    "idle_100_shards": idle.measure,
    "handler_sleeps": handlers.measure_sleep,
    "handler_never_ends": handlers.measure_stop,
}


def main() -> int:
    """Run the measures asked for; 0 whether or not goals were met, 1 where a measure could not be made."""
    arguments = _parser().parse_args()
    options = Options(
        rounds=arguments.rounds,
        sleep_seconds=arguments.sleep_seconds,
        idle_seconds=arguments.idle_seconds,
        wave_ends=arguments.wave_ends,
    )
    # For the driver's own clients; workers are given theirs by the stage.
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        report = asyncio.run(_run(arguments.measures or list(MEASURES), options))
    except asyncio.CancelledError:
        progress("Interrupted; every process and file of it is gone.")
        return 130
    except (MinistackMissing, MinistackNotReady) as error:
        progress(str(error))
        return 1
    print(json.dumps(report, indent=2))
    return 1 if report["failed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.timings", description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[[], *MEASURES], metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=3, help="of each measure that has rounds (default %(default)s)")
    parser.add_argument(
        "--sleep-seconds", type=float, default=20.0, help="of the handler that sleeps (default %(default)s; try 600)"
    )
    parser.add_argument("--idle-seconds", type=float, default=40.0, help="of watching 100 idle shards")
    parser.add_argument("--wave-ends", type=int, default=1000, help="shards that end at once (default %(default)s)")
    return parser


async def _run(names: list[str], options: Options) -> dict[str, Any]:
    running = asyncio.current_task()
    assert running is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)  # unwinds: nothing is left behind
    report: dict[str, Any] = {
        "began_at": datetime.fromtimestamp(int(CLOCK.wall()), UTC).isoformat(),
        "command": " ".join(["python -m tests.benchmarks.timings", *sys.argv[1:]]),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "rounds": options.rounds,
        "measures": {},
        "failed": {},
    }
    for name in names:
        progress(f"{name} ...")
        began, load = CLOCK.monotonic(), os.getloadavg()[0]
        try:
            figures = await MEASURES[name](options)
        except (TimeoutError, RuntimeError) as error:
            # One measure that can't be made does not take the others' figures with it.
            report["failed"][name] = f"{type(error).__name__}: {error}"
            progress(f"  failed: {error}")
            continue
        load_average = {"before": round(load, 2), "after": round(os.getloadavg()[0], 2)}
        report["measures"][name] = {
            **figures,
            "took_seconds": round(CLOCK.monotonic() - began, 1),
            "load_average": load_average,
        }
    report["goals_missed"] = sorted(_missed(report["measures"]))
    return report


def _missed(figures: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in figures.items():
        if name == "goals":
            yield from (f"{path}{goal}" for goal, each in value.items() if not each["met"])
        elif isinstance(value, Mapping):
            yield from _missed(value, f"{path}{name}.")


if __name__ == "__main__":
    sys.exit(until_unread(main))
