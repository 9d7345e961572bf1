"""What an operator should know of a stream's lineage as it stands: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consumer.streams.lineage import Lineage, merged
from consumer.streams.source import Shard
from lease_store.lease import Lease

__all__ = ["Finding", "audit"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the lineage that an operator should know of; ``sentence`` says what it means for the data."""

    shard_id: str
    sentence: str


def audit(shards: Iterable[Shard], leases: Iterable[Lease], label: str, *, shared: bool = False) -> tuple[Finding, ...]:
    """What is odd about the lineage now, by shard id. A stale listing shows oddities that pass.

    In a table ``shared`` with a KCL nothing is odd about a listed shard without a row whose child has begun: it is
    done, and the KCL has cleaned up.
    """
    shards = tuple(shards)
    listed = merged(shards)
    rows = {lease.key: lease for lease in leases if lease.stream == label}
    lineage = Lineage(listed.values(), rows.values())
    found = [Finding(name, "is its own ancestor; its lineage gives no order.") for name in sorted(lineage.looped)]
    seen: set[str] = set()
    for shard in shards:
        if shard.id in seen:
            found.append(Finding(shard.id, "is listed more than once; the entries were added up."))
        seen.add(shard.id)
    for name, shard in sorted(listed.items()):
        row = rows.get(name)
        below = lineage.children.get(name, ())
        if row is None and not shared and any(child in rows and rows[child].checkpoint.is_number for child in below):
            found.append(Finding(name, "was listed after its child had begun; its records come late, out of order."))
        elif row is not None and row.is_finished and shard.is_open and not below:
            found.append(Finding(name, "is stored as ended, but is listed as open: records may be left unread."))
        elif row is not None and row.is_finished and not below:
            found.append(Finding(name, "has ended and no child is listed yet; reading goes on when one appears."))
    return tuple(sorted(found, key=lambda finding: (finding.shard_id, finding.sentence)))
