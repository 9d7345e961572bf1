"""The lineage of the lease world: a shard splits in two, the two merge into one, and that one splits once more."""

from __future__ import annotations

from typing import Final

from lease_store.lease import Lease

__all__ = ["STREAM", "children_of", "is_last"]

STREAM: Final = "clicks@1"
_ROOT: Final = 2


def is_last(key: str) -> bool:
    """Whether the shard stays open for ever."""
    return len(key) >= _ROOT + 2 and not key.endswith("m")


def children_of(key: str) -> list[Lease]:
    """``00`` -> ``00a``, ``00b`` -> ``00m`` (of both) -> ``00ma``, ``00mb``; as both parents of a merge tell it."""
    if len(key) == _ROOT + 1 and not key.endswith("m"):
        root = key[:-1]
        return [Lease(key=f"{root}m", parents=(f"{root}a", f"{root}b"), stream=STREAM)]
    return [Lease(key=key + each, parents=(key,), stream=STREAM) for each in "ab"]
