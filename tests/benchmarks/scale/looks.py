"""What a look at the lease table costs a worker: CPU time, rows of others and of its own, as many as in large fleets.

The whole way of a reply, from botocore's client (a canned body in place of the network) to the plan that comes of it,
a third of the rows having moved since the look before; and the reading of rows alone, beside botocore's parser.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Coroutine
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import botocore.session

from consumer.clock import SystemClock
from consumer.config import InitialPosition
from consumer.hooks import Hooks
from consumer.leasing.adopted import AdoptedLeases
from consumer.leasing.handoff import OwnerSide
from consumer.leasing.held_lease import HeldLease
from consumer.leasing.held_row import Terms
from consumer.leasing.leases import Leases
from consumer.leasing.table_watch import TableWatch
from consumer.leasing.timing import LeaseTiming
from lease_store.checkpoint import Checkpoint
from lease_store.dynamodb import DynamoDBLeaseStore
from lease_store.item import table_scan, to_item, worker_to_item
from lease_store.lease import Lease, WorkerRow
from lease_store.strict_parser import StrictParser
from tests.benchmarks.processes import progress
from tests.benchmarks.reckoning import lower_quartile
from tests.benchmarks.results import goal_row
from tests.fuzz.canned import CannedBench, Reply

__all__ = ["measure"]

_LOOKS: Final = 16
_GOAL_MILLISECONDS: Final = {1_000: 25.0, 10_000: 300.0}
_ROWS_A_PAGE: Final = 1_700  # of 600 bytes, as many as fit the megabyte that DynamoDB reads at once
_WORKERS: Final = tuple(f"host-{number}.0123456789ab" for number in range(4))
_STREAM: Final = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-11-20T08:00:00.000"
_READY: Final = {
    "Table": {
        "TableStatus": "ACTIVE",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
    }
}


def measure() -> dict[str, Any]:
    """Looks at a table of a thousand rows and of ten thousand, in turns with botocore's way of reading them."""
    figures: dict[str, float] = {}
    goals = []
    for rows, goal in _GOAL_MILLISECONDS.items():
        with CannedBench() as bench:
            looks, parsing = _Table(bench, rows).costs()
        figures[f"look_at_{rows}_rows_cpu_milliseconds"] = round(looks, 2)
        figures[f"botocore_and_codec_{rows}_rows_cpu_milliseconds"] = round(parsing, 2)
        goals.append(goal_row(f"a look at {rows:,} rows, CPU", round(looks, 1), goal, "ms", at_least=False))
    progress(f"  {figures}")
    return {"figures": figures, "goals": goals}


class _Table:
    """A table whose rows live on between looks, and one of the four workers that share it."""

    def __init__(self, bench: CannedBench, rows: int) -> None:
        self._bench = bench
        self._leases = [_lease(number) for number in range(rows)]
        bench.canned.reply = lambda _: Reply(json.dumps(_READY).encode())
        store = DynamoDBLeaseStore("leases", session=bench.canned.session, region_name="eu-west-1")
        bench.open(store.open())
        clock = SystemClock()
        self._mine = Leases(
            AdoptedLeases(store, _STREAM, InitialPosition("TRIM_HORIZON"), clock.wall),
            me=_WORKERS[0],
            timing=LeaseTiming(10.0),
            clock=clock,
            random=random.Random(1),
            hooks=Hooks([]),
            listener=_Deaf(),
        )
        self._watch = TableWatch(
            self._mine,
            Coroutine.close,  # what a look begins (nothing, where all is at rest) is not what it costs
            OwnerSide(self._mine, 30.0),
            stream_base="arn:aws:dynamodb:eu-west-1:111122223333:table/orders",
            read_units_per_second=50.0,
        )
        self._parser = StrictParser()
        self._shape = botocore.session.get_session().get_service_model("dynamodb").operation_model("Scan").output_shape

    def costs(self) -> tuple[float, float]:
        """CPU milliseconds of a look, and of the same pages read by botocore's parser and the rows' codec."""
        looks, parsing = [], []
        self._look(self._pages(0))
        for turn in range(1, _LOOKS + 1):
            self._leases = [
                replace(lease, counter=lease.counter + 1) if number % 3 == turn % 3 else lease
                for number, lease in enumerate(self._leases)
            ]
            self._hold()
            pages = self._pages(turn)
            looks.append(self._look(pages))
            parsing.append(self._parse(pages))
        return 1e3 * lower_quartile(looks), 1e3 * lower_quartile(parsing)

    def _hold(self) -> None:
        """The rows that name this worker are its own, as its last renewals told."""
        mine = self._mine
        for lease in self._leases:
            if lease.owner == mine.me and lease.key not in mine.held:
                mine.held[lease.key] = HeldLease(
                    lease,
                    Terms(
                        me=mine.me,
                        calls=mine.calls,
                        timing=mine.timing,
                        clock=mine.clock,
                        hooks=mine.hooks,
                        on_change=lambda _: None,
                    ),
                    sent_at=mine.clock.monotonic(),
                )
            elif lease.owner == mine.me:
                mine.held[lease.key].lease = lease

    def _pages(self, turn: int) -> list[bytes]:
        items = [to_item(lease) for lease in self._leases]
        items += [worker_to_item(WorkerRow(worker_id=each, beat=turn, failover_seconds=10.0)) for each in _WORKERS]
        starts = range(0, len(items), _ROWS_A_PAGE)
        pages = [{"Items": items[start : start + _ROWS_A_PAGE]} for start in starts]
        for page in pages[:-1]:
            page["LastEvaluatedKey"] = {"leaseKey": page["Items"][-1]["leaseKey"]}
        return [json.dumps(page, separators=(",", ":")).encode() for page in pages]

    def _look(self, pages: list[bytes]) -> float:
        left = iter(pages)
        canned = self._bench.canned
        canned.reply = lambda _: Reply(next(left)) if canned.asked["TableName"] == "leases" else _nothing()

        async def look() -> float:
            began = time.process_time()
            await self._watch.look()
            self._watch.rules.apply_takes()
            return time.process_time() - began

        return self._bench.run(look())

    def _parse(self, pages: list[bytes]) -> float:
        began = time.process_time()
        table_scan(item for page in pages for item in self._parser._handle_json_body(page, self._shape)["Items"])
        return time.process_time() - began


class _Deaf:
    def tenure_began(self, held: HeldLease) -> None: ...
    def stop_changed(self, held: HeldLease, reason: Any) -> None: ...


def _lease(number: int) -> Lease:
    return Lease(
        key=f"shardId-{1_700_000_000_000 + number:020d}-{number:08x}",
        counter=100,
        owner=_WORKERS[number % len(_WORKERS)],
        checkpoint=Checkpoint(str(10**20 + number)),
        parents=(f"shardId-{1_600_000_000_000 + number:020d}-{number:08x}",),
        stream=_STREAM,
        start_at=Decimal(1_795_000_000),
        created_at=f"1795000000000-{number:012x}",
        app="orders-audit",
        throughput_kbps=Decimal("12.5"),
    )


def _nothing() -> Reply:
    """Of the tables of an older KCL: there are none."""
    return Reply(json.dumps({"__type": "com.amazonaws#ResourceNotFoundException", "message": "-"}).encode(), 400)
