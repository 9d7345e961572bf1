"""What would happen to a lease table, and to a Python worker, if the worker joined it now: sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from consumer.leasing.mode_words import FROM_NOW_ON
from consumer.operate.findings import Diagnosis, LeasesFound, counted
from lease_store.attributes import Place

__all__ = ["PLACES", "of_joining"]

PLACES: Final[Mapping[Place, str]] = {
    "leases": "the lease table",
    "coordinator": "the legacy coordinator table",
    "metrics": "the legacy metrics table",
}


def of_joining(found: Diagnosis) -> tuple[str, ...]:
    """What joining does, a sentence or two each, the most important first."""
    rules = {"peer": _among_peers, "leader": _under_a_leader, "2x": _beside_2x}[found.mode]
    said = [f"Mode {found.mode}: {FROM_NOW_ON[found.mode]}.", *rules(found), *_of_rows(found.leases)]
    if found.hand_offs:
        said.append(
            "The hand-offs under way are finished by the workers they are between; a worker that joins leaves them "
            "alone until their owner has stood still for the failover time."
        )
    return tuple(said)


def _among_peers(found: Diagnosis) -> Iterator[str]:
    if not found.leases.total:
        yield "There is no lease yet: the first worker makes a row for each shard, from its --initial-position on."
    elif found.workers:
        named = counted(len(found.workers), "worker")
        yield f"{named} named in its rows: whoever lives hands it its share within seconds."
        yield (
            "A KCL 3.5 or later may join this table as it is. A KCL 2.x or 3.0 to 3.4 does not start on a table with "
            "rows of workers: first run `leasehold table prepare-2x`."
        )


def _under_a_leader(found: Diagnosis) -> Iterator[str]:
    lock_at = PLACES[found.lock_at]
    holder = next((lock for lock in found.locks if lock.place == found.lock_at and not lock.is_released), None)
    libraries = {worker.worker_id: worker.library for worker in found.workers}
    if holder is None:
        yield (
            f"Nobody holds the lock of {lock_at}: a Python worker that joins looks for it about once a second, "
            "takes it, and plans for all, Java workers included."
        )
    elif libraries.get(holder.owner) == "Leasehold":
        yield f"{holder.owner}, a Python worker, holds the lock and gives a new worker its share within seconds."
    else:
        yield (
            f"{holder.owner} holds the lock of {lock_at} and plans. A KCL's leader plans every 20 s and "
            "balances at every third plan (its defaults), and leaves alone what is balanced within 10 %: the first "
            "leases may take a minute or two to come."
        )
        if holder.moved is False:
            yield (
                f"The lock did not move while it was watched (a KCL's heart beats every 30 s): if {holder.owner} is "
                f"dead, a Python worker takes the lock once it has stood still for {holder.duration_seconds:g} s."
            )
    rows = PLACES[found.workers_at]
    yield f"Its metric row goes to {rows}, every 30 s or sooner: without it a KCL's leader gives nothing."
    if found.has_index:
        yield "The index by owner is there: what is assigned is found within about a second."
    elif found.has_index is False:
        yield (
            "The index by owner is not there (or not active): each KCL 3.x makes it when it starts, and a Python "
            "leader where it may (dynamodb:UpdateTable). Until then what is assigned to a Python worker is found by "
            "its scans."
        )


def _beside_2x(found: Diagnosis) -> Iterator[str]:
    yield (
        "A lease is taken from a KCL 2.x worker one at a time, as its own takers do it: what came after its last "
        "checkpoint repeats. What a Python worker gives, to a KCL or to another Python worker, repeats nothing."
    )
    if found.client_version is None and found.has_legacy_tables is False:
        yield (
            "Were this a KCL 3.0 to 3.4 whose application is not called as the table, its leader would keep its lock "
            "in a table called after the application: give that name with --app, here and to the worker."
        )
    if found.client_version == "CLIENT_VERSION_UPGRADE_FROM_2X":
        yield (
            "The fleet is on its way from 2.x to 3.x (CLIENT_VERSION_UPGRADE_FROM_2X), and leaves 2.x only when every "
            f"owner of a lease has a fresh metric row: a Python worker publishes one, in {PLACES[found.workers_at]}. A "
            "KCL 2.x that still runs on this table throws at such rows in it, whoever writes them, and takes no lease."
        )


def _of_rows(leases: LeasesFound) -> Iterator[str]:
    if leases.at_latest:
        yield (
            f"Not begun, and at LATEST: {counted(leases.at_latest, 'lease')}, as a KCL stores it: a Java worker that "
            "opens one begins at what is then the end of the shard. A Python worker notes an instant in the row when "
            "it first gets it, and keeps to it."
        )
    if leases.at_timestamp:
        yield (
            f"Not begun, and at AT_TIMESTAMP: {counted(leases.at_timestamp, 'lease')}, whose instant only the KCL's "
            "configuration knows: start the worker with --initial-position AT_TIMESTAMP=<that instant>, with any other "
            "position it refuses the table."
        )
    if leases.prepared:
        yield (
            f"With a prepared checkpoint: {counted(leases.prepared, 'lease')}; the processor that gets one is told of "
            "it in initialize (shard.pending_checkpoint)."
        )
    if leases.inside_aggregates:
        yield (
            f"Inside a record that the KPL aggregated: {counted(leases.inside_aggregates, 'checkpoint')}. Leasehold "
            "gives such a record to the processor as it is, in one piece, and one that was begun comes again, whole."
        )
    if leases.adapter:
        yield (
            "The rows of the KCL's adapter for DynamoDB Streams are kept as they are; new ones get the hash range 0..1 "
            "that it expects."
        )
