"""``leasehold table``: what is done to a lease table by hand, once, between two ways of working in it."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from consumer.clock import Clock, SystemClock
from consumer.config import find_problems
from consumer.errors import ConfigError

if TYPE_CHECKING:
    from lease_store.store import LeaseStore

__all__ = ["add_arguments", "prepare", "run"]

_EXIT_CODES: Final = (
    "exit codes: 0 done (of a dry run: it could be), 1 refused or not finished, 3 bad flags. Rights: "
    "dynamodb:DescribeTable, Scan, UpdateItem and DeleteItem on the table; DescribeTable and Scan on "
    "TABLE-CoordinatorState and TABLE-WorkerMetricStats."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands on tables, and their flags."""
    parser.description = "Change how a lease table is shared."
    commands = parser.add_subparsers(dest="table_command", metavar="COMMAND", required=True)
    two_x = commands.add_parser(
        "prepare-2x", help="leave lease rows only, so that workers of a KCL 2.x can join", epilog=_EXIT_CODES
    )
    two_x.description = (
        "Make a lease table fit for workers of a KCL 2.x, which takes no lease while the table has any other row: mark "
        "each lease, so that Leasehold's workers go on by the rules of 2.x without rows of their own, and delete every "
        "row that is no lease. Refused while a 3.x leader or a KCL 3.x worker lives; whether one does is watched for "
        "as long as it may stay silent, up to some minutes. Without --apply nothing is changed."
    )
    peers = commands.add_parser(
        "prepare-peers", help="once no KCL 2.x will come back: Leasehold's workers alone", epilog=_EXIT_CODES
    )
    peers.description = (
        "Give a table that a KCL 2.x has left for good to Leasehold's workers alone, who then hand leases over without "
        "a pause: name the workers that renew leases, and mark each lease. That none of them is a KCL's is for you to "
        "know: no row tells. Without --apply nothing is changed."
    )
    for each in (two_x, peers):
        each.add_argument("--lease-table", metavar="TABLE", required=True, help="the lease table (of a KCL: its app)")
        each.add_argument("--apply", action="store_true", help="do it; without this flag it is only said what would be")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; returns the exit code. Raises ConfigError, LeaseStoreError."""
    table = arguments.lease_table
    if problems := find_problems({"lease_table": table}):
        raise ConfigError([f"--lease-table {each.value}: {each.sentence}" for each in problems])
    from lease_store.dynamodb import DynamoDBLeaseStore

    store = DynamoDBLeaseStore(table, create_table=False)
    return asyncio.run(
        prepare(store, SystemClock(), for_2x=arguments.table_command == "prepare-2x", apply=arguments.apply)
    )


async def prepare(store: LeaseStore, clock: Clock, *, for_2x: bool = True, apply: bool) -> int:
    """``prepare-2x`` or ``prepare-peers`` on ``store``; returns the exit code."""
    from consumer.operate.peers_table import PeersTable
    from consumer.operate.two_x_table import TwoXTable

    kind = TwoXTable if for_2x else PeersTable
    async with store.open():
        is_done = await kind(store, clock=clock, tell=partial(print, flush=True)).prepare(apply=apply)
    return 0 if is_done else 1
