"""Which lanes of a shard keys belong to."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

__all__ = ["lanes_of"]


def lanes_of(keys: Iterable[str], lanes: int) -> list[int]:
    """The number of each key's lane, from 0; the same in every process, and even over keys that count up."""
    return [crc32(key.encode(errors="surrogatepass")) % lanes for key in keys]
