"""Which shards are read, from where and when: mutants of children, starts, new streams, and of who a worker is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consumer.leasing.names import worker_name
from consumer.streams.source import Position
from consumer.testing.stream_rules import Staleness
from lease_store.checkpoint import LATEST
from tests.simulation.fleet.draw import CALM_CODE
from tests.simulation.mutants.mixes import KINESIS, LOST, on_fleet
from tests.simulation.mutants.mutant import Function

__all__ = [
    "a_new_stream_waits_for_no_old_one",
    "children_start_at_latest",
    "children_wait_for_nobody",
    "finished_rows_go_at_once",
    "latest_slides",
    "no_boot_nonce",
    "no_lineage_audit",
    "old_rows_are_read_from_the_new_stream",
]


@on_fleet(
    "consumer.leasing.held_tenure:child_leases",
    rule="A child starts at TRIM_HORIZON, whatever the initial position was.",
    caught_by=LOST,
    writes_per_second=15.0,
)
def children_start_at_latest(original: Function) -> Function:
    def child_leases(children: Any, parent: Any, leases: Any) -> Any:
        return tuple(replace(row, checkpoint=LATEST) for row in original(children, parent, leases))

    return child_leases


@on_fleet(
    "consumer.shards.shard_sync:ShardSync.wait_for_lineage",
    rule="A child is read once every parent's row is at SHARD_END, or is gone.",
    caught_by=("parents first", "order of each key"),
    writes_per_second=15.0,
    code=replace(CALM_CODE, usual_seconds=1.0),
    staleness=Staleness(),
)
def children_wait_for_nobody(_: Function) -> Function:
    async def wait_for_lineage(self: Any, held: Any) -> None:
        return None

    return wait_for_lineage


@on_fleet(
    "consumer.shards.shard_sync:ShardSync.run",
    rule="A child that was listed late gets its row from the audit.",
    caught_by=("at rest in time",),
    child_wait=0.0,
    staleness=Staleness(child_late_seconds=10.0),
    safety_only=False,
)
def no_lineage_audit(_: Function) -> Function:
    async def run(self: Any) -> None:
        await self._clock.sleep(1e9)

    return run


@on_fleet(
    "consumer.shards.shard_sync:ShardSync._delete",
    rule="A finished row stays while its shard may still be listed, or it would be made anew and read again.",
    caught_by=("nothing done with comes again", *LOST),
    audit_interval=3.0,
    phase=40.0,
)
def finished_rows_go_at_once(_: Function) -> Function:
    async def _delete(self: Any, listing: Any, state: Any) -> None:
        for lease in state.leases:
            if lease.is_finished:
                await self._seam.call(self._loop.delete(lease))

    return _delete


@on_fleet(
    "consumer.shards.read_place:start_position",
    rule="LATEST is one instant for the whole group, until the first checkpoint of each shard.",
    caught_by=LOST,
    position="LATEST",
    shards=4,
    writes_per_second=15.0,
    happenings=("blackout", "crash", "start"),
)
def latest_slides(original: Function) -> Function:
    def start_position(lease: Any, *, aggregates: bool) -> Position:
        if lease.checkpoint == LATEST:
            return Position("LATEST")
        return original(lease, aggregates=aggregates)  # type: ignore[no-any-return]  # a Function answers Any

    return start_position


@on_fleet(
    "consumer.shards.listings:Listings.identity_of",
    rule="A row is read from the incarnation of the stream that it belongs to.",
    caught_by=("records of the row's own stream", "no end of an open shard", *LOST),
    # Rows of shards that have no record yet, when the stream of their shards' ids is made anew.
    service="kinesis",
    options=KINESIS,
    shards=6,
    keys=20,
    writes_per_second=1.0,
    phase=40.0,
    happenings=("recreate", "crash", "start"),
)
def old_rows_are_read_from_the_new_stream(_: Function) -> Function:
    def identity_of(self: Any, label: Any) -> Any:
        return self.stream

    return identity_of


@on_fleet(
    "consumer.shards.table_look:TableLook.is_older_drained",
    rule="Shards of a re-enabled stream wait until those of the old one are done.",
    caught_by=("order of each key",),
    writes_per_second=15.0,
    code=replace(CALM_CODE, usual_seconds=1.0),
    happenings=("recreate",),
)
def a_new_stream_waits_for_no_old_one(_: Function) -> Function:
    def is_older_drained(self: Any, label: Any) -> bool:
        return True

    return is_older_drained


@on_fleet(
    "consumer.worker:Worker.__init__",
    rule="Every start of a worker has an id of its own.",
    caught_by=("one trusting worker",),
    same_name=True,
    happenings=("crash", "start", "freeze"),
)
def no_boot_nonce(original: Function) -> Function:
    def __init__(
        self: Any,
        source: Any,
        lease_store: Any,
        processor_factory: Any,
        config: Any,
        *,
        clock: Any = None,
        random: Any = None,
        hooks: Any = (),
        seam: Any = None,
        threads: Any = None,
        dead_letters: Any = None,
        cpu: Any = None,
    ) -> None:
        rest = {"clock": clock, "random": random, "hooks": hooks, "seam": seam, "threads": threads}
        rest |= {"dead_letters": dead_letters, "cpu": cpu}
        original(self, source, lease_store, processor_factory, config, **rest)
        self.worker_id = worker_name(config.worker_id)

    return __init__
