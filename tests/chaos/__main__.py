"""``python -m tests.chaos``: a line of progress a round on standard error, one JSON document on standard output.

The rounds are shared between the sources. A campaign that fails leaves its recording and the processes' logs in a
folder that is named; ``--judge FOLDER`` judges such a recording again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from consumer.cli.output import until_unread
from consumer.testing.ministack import Ministack, MinistackMissing, MinistackNotReady
from lease_store.errors import InvalidRow
from tests.chaos.campaign import Campaign
from tests.chaos.figures import figures
from tests.chaos.judge import findings
from tests.chaos.plan import SourceKind
from tests.chaos.recording import Recording, kept, load
from tests.simulation.arguments import at_least_one

__all__ = ["main"]

_SOURCES: Final[tuple[SourceKind, ...]] = ("dynamodb", "kinesis")
_SHOWN: Final = 20


def main() -> int:
    """Play and judge; 1 where a promise was broken, or a campaign could not be carried out."""
    arguments = _parser().parse_args()
    if arguments.judge is not None:
        return _print([_judged(arguments.judge)])
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    sources = _SOURCES if arguments.source is None else (arguments.source,)
    try:
        reports = asyncio.run(_play(sources, arguments))
    except asyncio.CancelledError:
        _progress("Interrupted; every process and file of it is gone.")
        return 130
    except (MinistackMissing, MinistackNotReady) as error:
        _progress(str(error))
        return 1
    return _print(reports)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--rounds", type=at_least_one, default=200, help="of all campaigns together (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of what happens when (default %(default)s)")
    parser.add_argument("--source", choices=_SOURCES, help="only this one (default: both, one after the other)")
    parser.add_argument("--keep", action="store_true", help="keep recording and logs of a sound campaign, too")
    parser.add_argument("--judge", type=_recording, metavar="FOLDER", help="judge what a failed campaign left behind")
    return parser


def _recording(folder: str) -> Recording:
    """What a campaign left in ``folder``; ArgumentTypeError where that is missing, cut short or another version's."""
    try:
        return load(Path(folder))
    except (OSError, ValueError, KeyError, TypeError, InvalidRow) as error:
        reason = f"{type(error).__name__}: {error}"
        raise argparse.ArgumentTypeError(f"{folder} holds no recording that can be judged ({reason})") from error


async def _play(sources: tuple[SourceKind, ...], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    running = asyncio.current_task()
    assert running is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)  # unwinds: nothing is left behind
    reports = []
    with Ministack.start() as ministack:
        for place, source in enumerate(sources):
            share = arguments.rounds // len(sources) + (place < arguments.rounds % len(sources))
            reports.append(await _campaign(source, share, arguments.seed, ministack, keep=arguments.keep))
    return reports


async def _campaign(source: SourceKind, rounds: int, seed: int, ministack: Ministack, *, keep: bool) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix=f"leasehold-chaos-{source}-{seed}-"))
    _progress(f"{source}: {rounds} rounds of seed {seed}; logs in {folder} until it is found sound")
    try:
        recording = await Campaign(source, seed, ministack=ministack, folder=folder).run(rounds, _progress)
    except asyncio.CancelledError:
        shutil.rmtree(folder)
        raise
    report = _judged(recording)
    if report["findings"] or keep:
        kept(recording, folder)
        _progress(f"{source}, seed {seed}: {len(report['findings'])} findings; recording and logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return report


def _judged(recording: Recording) -> dict[str, Any]:
    found = findings(recording)
    for each in found[:_SHOWN]:
        _progress(f"  {each}")
    if len(found) > _SHOWN:
        _progress(f"  and {len(found) - _SHOWN} more")
    return figures(recording, found)


def _print(campaigns: list[dict[str, Any]]) -> int:
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    command = " ".join(["python -m tests.chaos", *sys.argv[1:]])
    print(json.dumps({"command": command, "machine": machine, "campaigns": campaigns}, indent=2))
    return 1 if any(campaign["findings"] for campaign in campaigns) else 0


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(until_unread(main))
