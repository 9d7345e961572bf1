"""When the leases of a fleet are at rest: each held by a live worker, and no worker holding two more than another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lease_store.lease import Lease
from tests.simulation.trace import shown

__all__ = ["unrest"]


def unrest(rows: Iterable[Lease], held: Mapping[str, Collection[str]], most: Mapping[str, int | None]) -> str | None:
    """Why not, of unfinished ``rows``; None at rest.

    ``held`` are the keys that each live worker holds, by worker id. ``most`` is how many leases it may (None: any
    number): a worker that may hold no more is no reason to move one.
    """
    for lease in rows:
        if lease.is_pending or lease.owner not in held or lease.key not in held[lease.owner]:
            return f"{lease.key} is held by no live worker: {shown(lease)}"
    load = {worker: len(keys) for worker, keys in held.items()}
    open_to_more = [count for worker, count in load.items() if (limit := most[worker]) is None or count < limit]
    if open_to_more and max(load.values()) - min(open_to_more) > 1:
        return f"unbalanced: {load}"
    return None
