"""How reading a shard comes to its end."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.streams.source import Shard

__all__ = ["EndOfShard", "StoppedAtGap"]


@dataclass(frozen=True, slots=True)
class EndOfShard:
    """The shard has no further records. ``children`` as its last page named them, None where it did not."""

    children: tuple[Shard, ...] | None = None


@dataclass(frozen=True, slots=True)
class StoppedAtGap:
    """Records were trimmed before they could be read, and ``on_trimmed=stop`` asks to leave the shard unread."""

    from_position: str
