"""``leasehold demo``: three workers on a real table and a rotating stream, one killed, one stopped, and a verdict."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, Final

from consumer.errors import ConfigError

if TYPE_CHECKING:
    from consumer.demo.check import Verdict
    from consumer.demo.children import Children
    from consumer.demo.plain_view import View
    from consumer.demo.script import SourceKind
    from consumer.testing.ministack import Ministack

__all__ = ["add_arguments", "run"]

_INTERRUPTED: Final = 130
_NARROWEST: Final = 60
_LONGEST_SECONDS: Final = 3600.0
_SOURCES: Final = ("dynamodb", "kinesis")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``demo``."""
    parser.description = (
        "Start a local DynamoDB, a stream server, a writer and three workers; rotate and split shards, kill one "
        "worker, stop another, check that nothing was lost and every key stayed in order. The last line is JSON."
    )
    parser.epilog = (
        "exit codes: 0 only when nothing was lost, every key stayed in order and everything was shown; 1 otherwise, "
        "or an error; 3 bad flags; 130 interrupted"
    )
    parser.add_argument("--seconds", default="45", metavar="SECONDS", help="how long to write (default: %(default)s)")
    parser.add_argument("--source", default="dynamodb", metavar="dynamodb|kinesis", help="default: %(default)s")
    parser.add_argument("--keep", metavar="FOLDER", help="keep journals and logs there (default: keep nothing)")
    parser.add_argument("--plain", action="store_true", help="lines in place of the live view, as in a pipe")
    parser.add_argument("--strict", action="store_true", help="fail as well when a goal of time is missed")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 0: nothing lost, all in order, everything shown. Raises ConfigError, DemoFailed."""
    source, seconds = _checked(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        verdict = _verdict(source, seconds, plain=arguments.plain, keep=arguments.keep)
    except KeyboardInterrupt:
        print("leasehold: interrupted; every process that the demo had started is gone.", file=sys.stderr)
        return _INTERRUPTED
    passed = not verdict.problems and not (arguments.strict and verdict.missed)
    if passed:
        print(
            f"Passed: {verdict.written:,} writes to {verdict.keys} keys, none lost, every key in order; "
            f"the killed worker's shards were read again after {verdict.takeover_seconds:.1f} s."
        )
    for sentence in (*verdict.problems, *verdict.missed):
        print(f"leasehold: {sentence}.", file=sys.stderr)
    sys.stderr.flush()
    print(json.dumps({**asdict(verdict), "passed": passed}), flush=True)
    return 0 if passed else 1


def _checked(arguments: argparse.Namespace) -> tuple[SourceKind, float]:
    """Source and seconds; raises ConfigError with everything that is wrong with any flag."""
    from consumer.demo.script import MINIMUM_SECONDS

    problems = []
    try:
        seconds = float(arguments.seconds)
    except ValueError:
        seconds = math.nan
    if not MINIMUM_SECONDS <= seconds <= _LONGEST_SECONDS:
        problems.append(
            f"--seconds {arguments.seconds}: must be a number between {MINIMUM_SECONDS:g} and {_LONGEST_SECONDS:,g}; "
            "below that a killed worker's shards would not be taken over while the writer still writes."
        )
    if arguments.source not in _SOURCES:
        problems.append(f"--source {arguments.source}: is {' or '.join(_SOURCES)}.")
    if arguments.keep is not None and _is_in_use(Path(arguments.keep)):
        problems.append(f"--keep {arguments.keep}: is not an empty folder; name one that is, or that does not exist.")
    if problems:
        raise ConfigError(problems)
    return arguments.source, seconds


def _is_in_use(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _verdict(source: SourceKind, seconds: float, *, plain: bool, keep: str | None) -> Verdict:
    """Start everything, play, end everything: whichever way this is left, nothing stays behind."""
    from consumer.demo.children import Children
    from consumer.demo.journal import DamagedJournal
    from consumer.demo.stage import DemoFailed
    from consumer.testing.ministack import Ministack, MinistackMissing, MinistackNotReady

    view = _view(plain=plain)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_folder(keep))
            view.say(f"Starting a local DynamoDB, a stream server, a writer ({seconds:g} s) and three workers")
            ministack = stack.enter_context(Ministack.start())
            children = stack.enter_context(Children(folder))
            return asyncio.run(_play(source, seconds, ministack=ministack, children=children, view=view, folder=folder))
        except MinistackMissing as error:
            raise DemoFailed(str(error)) from None
        except (MinistackNotReady, DamagedJournal) as error:
            raise DemoFailed(str(error)) from error
        finally:
            # Ending everything takes a moment; a second Ctrl-C must not leave half of it behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)


async def _play(
    source: SourceKind, seconds: float, *, ministack: Ministack, children: Children, view: View, folder: Path
) -> Verdict:
    from consumer.clock import SystemClock
    from consumer.demo.check import Goals
    from consumer.demo.course import FAILOVER_SECONDS, Course
    from consumer.demo.stage import build_stage

    clock = SystemClock()
    goals = Goals(takeover_seconds=FAILOVER_SECONDS + 2.0)
    stage = await build_stage(source, ministack, children, clock=clock, random=Random(7))
    with view:
        return await Course(stage, children, view, folder, seconds=seconds, goals=goals, clock=clock).run()


def _view(*, plain: bool) -> View:
    """The live view on a terminal that can show it, lines elsewhere."""
    from consumer.demo.plain_view import PlainView

    width = shutil.get_terminal_size().columns
    if plain or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return PlainView()
    if width < _NARROWEST:
        return PlainView()
    try:
        from consumer.demo.live_view import LiveView
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        view = PlainView()
        view.say("(For a live view: pip install 'leasehold[cli]')")
        return view
    return LiveView()


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    """Where journals and logs lie: a temporary folder that goes again, or the one that the user named."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="leasehold-demo-") as name:
            yield Path(name)
    else:
        path = Path(keep).absolute()
        path.mkdir(parents=True, exist_ok=True)
        yield path
