"""``leasehold doctor --table T``: who made a lease table, who works it, and what joining it would do. Reads only."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from consumer.clock import Clock, SystemClock
from consumer.config import find_problems
from consumer.errors import ConfigError

if TYPE_CHECKING:
    from consumer.operate.diagnosis import StreamLook
    from consumer.operate.findings import Diagnosis, Look
    from consumer.streams.source import RecordSource
    from lease_store.store import LeaseStore

__all__ = ["JOINABLE", "NOT_JOINABLE", "add_arguments", "examine", "look_on", "run"]

JOINABLE: Final = 0
NOT_JOINABLE: Final = 1

_EXIT_CODES: Final = (
    "exit codes: 0 a worker may join, 1 it may not (or the table could not be looked at), 3 bad flags. "
    "Rights: dynamodb:DescribeTable and Scan on the table, Scan on TABLE-CoordinatorState and TABLE-WorkerMetricStats, "
    "Query on the table's index; with --stream, DescribeTable and DescribeStream, or kinesis:DescribeStreamSummary and "
    "ListShards. Nothing is written."
)
_LONGEST_WATCH_SECONDS: Final = 3600.0
_LOOK_EVERY_SECONDS: Final = 5.0
_MOST_LOOKS: Final = 25
_NARROWEST: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags; all but the table may be left out."""
    parser.epilog = _EXIT_CODES
    parser.description = (
        "Say who made a lease table (which KCL, or Leasehold), who works it and how, and what a Python worker that "
        "joins it would do. Nothing is written. One look can't tell who lives: --watch looks again."
    )
    parser.add_argument("--table", metavar="TABLE", required=True, help="the lease table (of a KCL: its application)")
    parser.add_argument("--app", metavar="APP", help="the app that would join, where it is not called as the table")
    parser.add_argument("--stream", metavar="STREAM", help="also compare with dynamodb:TABLE, kinesis:STREAM or an ARN")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        default="0",
        help="look again for this long; a KCL's leases move every 3.3 s, its metric row and its lock every 30 s",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Look, print, and say by the exit code whether a worker may join. Raises ConfigError, LeaseholdError."""
    watch_seconds = _checked(arguments)
    from consumer.streams.named import open_source
    from lease_store.dynamodb import DynamoDBLeaseStore

    source = open_source(arguments.stream) if arguments.stream else None
    store = DynamoDBLeaseStore(arguments.table, create_table=False, application=arguments.app)
    found = asyncio.run(
        examine(store, source, watch_seconds=watch_seconds, app=arguments.app, clock=SystemClock(), tell=_tell)
    )
    if arguments.json:
        print(json.dumps({**asdict(found), "is_joinable": found.is_joinable}, indent=2))
    else:
        from consumer.cli.doctor_report import report

        for line in report(found, width=_width()):
            print(line)
    return JOINABLE if found.is_joinable else NOT_JOINABLE


def _checked(arguments: argparse.Namespace) -> float:
    """The time to watch. Raises ConfigError with everything that is wrong."""
    from consumer.streams.address import parse_address

    problems = [f"--table {each.value}: {each.sentence}" for each in find_problems({"lease_table": arguments.table})]
    try:
        watch_seconds = float(arguments.watch)
    except ValueError:
        watch_seconds = math.nan
    if not 0 <= watch_seconds <= _LONGEST_WATCH_SECONDS:
        problems.append(
            f"--watch {arguments.watch}: is a number of seconds from 0 (one look) to {_LONGEST_WATCH_SECONDS:g}."
        )
    if arguments.stream is not None:
        try:
            parse_address(arguments.stream)
        except ConfigError as error:
            problems += [problem.replace("--source: ", "--stream: ") for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return watch_seconds


async def examine(
    store: LeaseStore,
    source: RecordSource | None,
    *,
    watch_seconds: float,
    clock: Clock,
    app: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Diagnosis:
    """Look at the table, and at the stream where one is given. Raises LeaseStoreError, StreamError.

    A table that is not there is a finding, for a worker would make it; so is one that is no lease table.
    """
    from consumer.operate.diagnosis import diagnose
    from consumer.operate.findings import Look
    from lease_store.errors import LeaseTableMissing, NotALeaseTable
    from lease_store.lease import TableScan

    nothing = [Look(at=clock.monotonic(), scan=TableScan())]
    async with AsyncExitStack() as stack:
        stream = None if source is None else await _stream_look(source, stack)
        try:
            await stack.enter_async_context(store.open())
        except LeaseTableMissing:
            return diagnose(nothing, table=store.name, exists=False, app=app, stream=stream)
        except NotALeaseTable as error:
            return diagnose(nothing, table=store.name, app=app, stream=stream, refused=str(error))
        looks = [look async for look in look_on(store, watch_seconds, clock, tell)]
        return diagnose(looks, table=store.name, app=app, stream=stream, has_index=await _has_index(store))


async def look_on(
    store: LeaseStore, watch_seconds: float, clock: Clock, tell: Callable[[str], None]
) -> AsyncIterator[Look]:
    """One look, and where the table is to be watched more of them, evenly spaced, 25 at most."""
    from consumer.operate.findings import Look

    spaces = min(_MOST_LOOKS - 1, math.ceil(watch_seconds / _LOOK_EVERY_SECONDS))
    for number in range(spaces + 1):
        if number:
            tell(f"look {number + 1} of {spaces + 1} in {watch_seconds / spaces:.1f} s")
            await clock.sleep(watch_seconds / spaces)
        scan = await store.scan()  # first: what it shows says under which names to look for the older tables
        yield Look(at=clock.monotonic(), scan=scan, legacy=await store.legacy())


async def _stream_look(source: RecordSource, stack: AsyncExitStack) -> StreamLook:
    from consumer.operate.diagnosis import StreamLook

    await stack.enter_async_context(source.open())
    stream = await source.resolve()
    return StreamLook(name=source.name, identity=stream, listing=await source.list_shards(stream))


async def _has_index(store: LeaseStore) -> bool | None:
    from lease_store.errors import LeaseTableAccessDenied

    try:
        return await store.owned_by("leasehold doctor") is not None
    except LeaseTableAccessDenied:
        return None


def _tell(line: str) -> None:
    """Whoever sits before it sees that it goes on; a log has no use for that."""
    if sys.stderr.isatty():
        print(f"leasehold: {line}", file=sys.stderr)


def _width() -> int | None:
    """The terminal's width; None where the output is no terminal: a line a finding, for grep."""
    return max(_NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
