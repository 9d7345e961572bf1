"""The 128-bit hash space that shards divide among themselves, and where a key lies in it."""

from __future__ import annotations

import hashlib
import itertools
from typing import Final

__all__ = ["HASH_SPACE", "HashRange", "even_ranges", "hash_of"]

# Both ends included.
HashRange = tuple[int, int]

HASH_SPACE: Final[HashRange] = (0, 2**128 - 1)


def hash_of(key: str) -> int:
    """The hash that decides on which shard a key lies: MD5, as Kinesis does it."""
    return int.from_bytes(hashlib.md5(key.encode("utf-8"), usedforsecurity=False).digest(), "big")


def even_ranges(count: int) -> list[HashRange]:
    """The hash space in ``count`` touching ranges of equal width."""
    borders = [(HASH_SPACE[1] + 1) * index // count for index in range(count + 1)]
    return [(low, high - 1) for low, high in itertools.pairwise(borders)]
