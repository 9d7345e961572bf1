"""Which lane of a shard a key belongs to."""

from __future__ import annotations

from zlib import crc32

__all__ = ["lane_of"]


def lane_of(key: str, lanes: int) -> int:
    """The number of ``key``'s lane, from 0; the same in every process, and even over keys that count up."""
    return crc32(key.encode(errors="surrogatepass")) % lanes
