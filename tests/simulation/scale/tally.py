"""What a large fleet did to its table, counted as it happens: who owns what, moves, reads, writes, refusals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from consumer.leasing.timing import scan_read_units
from lease_store.lease import Lease
from lease_store.verbs import Write

__all__ = ["Tally", "least_moves"]

_MOVES: Final = frozenset({"take", "finish_hand_off", "release"})


class Tally:
    """Watches every write of a ``SimTable`` and every call of its stores.

    ``load`` is the number of unfinished rows by actual owner; ``calls`` are store calls by verb, refused ones among
    them, which ``refused`` counts apart; ``scanned_units`` are read units of all scans.
    """

    def __init__(self) -> None:
        self.moves: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.scanned_units = 0.0
        self.owners: dict[str, str | None] = {}
        self.pending: set[str] = set()
        self.last_change_at = 0.0

    def written(self, worker: str, write: Write, before: Lease | None, after: Lease | None) -> None:
        """After each write that was applied."""
        if after is None or after.is_finished:
            self.owners.pop(write.key, None)
            self.pending.discard(write.key)
            return
        (self.pending.add if after.is_pending else self.pending.discard)(write.key)
        if self.owners.get(write.key, "") != after.actual_owner:
            self.owners[write.key] = after.actual_owner
            self.last_change_at = asyncio.get_running_loop().time()
        if write.verb in _MOVES:
            self.moves[write.verb] += 1

    def scanned(self, rows: int) -> None:
        """A scan showed that many rows."""
        self.scanned_units += scan_read_units(rows)

    @property
    def load(self) -> Counter[str | None]:
        return Counter(self.owners.values())

    def unrest(self, live: Collection[str]) -> str | None:
        """Why the fleet is not at rest: each row owned by a live worker, none on its way, balanced within one."""
        load = self.load
        homeless = sum(count for owner, count in load.items() if owner not in live)
        if homeless:
            return f"{homeless} leases without a live owner"
        if self.pending:
            return f"{len(self.pending)} hand-offs under way"
        counts = [load[name] for name in live]
        return f"loads from {min(counts)} to {max(counts)}" if max(counts) - min(counts) > 1 else None

    def snapshot(self) -> dict[str, Any]:
        """The counts so far, to be subtracted from later ones."""
        return {
            "moves": Counter(self.moves),
            "calls": Counter(self.calls),
            "refused": Counter(self.refused),
            "scanned_units": self.scanned_units,
        }


def least_moves(load: Mapping[str, int], unowned: int) -> int:
    """The fewest moves after which ``load`` (live workers, those with nothing too) and ``unowned`` leases are level."""
    share, more = divmod(sum(load.values()) + unowned, len(load))
    counts = sorted(load.values(), reverse=True)
    targets: Iterable[int] = (share + (place < more) for place in range(len(counts)))
    return unowned + sum(max(0, count - target) for count, target in zip(counts, targets, strict=True))
