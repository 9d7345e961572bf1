"""Which of the leases to be placed goes to whom, so that workers whose views differ a little still agree on most."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final
from zlib import crc32

__all__ = ["share_out"]

_PLACES_OF_EACH: Final = 8


def share_out(keys: Iterable[str], room: Mapping[str, int]) -> dict[str, str]:
    """A worker for each of ``keys``, in their order, for as long as any has ``room`` left (leases by worker id).

    Workers have places on a ring, by checksums of their ids, and a key goes to the next place after its own checksum
    whose worker is not full. Dealt out in turns instead, all that follows would shift with each lease that one worker
    saw taken and another has not yet; and what two workers each leave to the other is taken by nobody.
    """
    left = {worker_id: count for worker_id, count in room.items() if count > 0}
    ring = sorted((_mark(f"{worker_id}#{n}"), worker_id) for worker_id in left for n in range(_PLACES_OF_EACH))
    taker: dict[str, str] = {}
    for key in keys:
        if not ring:
            break
        _, worker_id = ring[bisect_left(ring, (_mark(key), "")) % len(ring)]
        taker[key] = worker_id
        left[worker_id] -= 1
        if not left[worker_id]:
            ring = [place for place in ring if place[1] != worker_id]
    return taker


def _mark(name: str) -> int:
    return crc32(name.encode())
