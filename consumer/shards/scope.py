"""What the parts of one shard consumer share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from consumer.clock import Clock
from consumer.hooks import Fact
from consumer.shards.progress import Progress
from consumer.shards.signal import Signal

__all__ = ["Scope"]


@dataclass(frozen=True, slots=True)
class Scope:
    """One shard on one worker: its id, the worker's clock, randomness and hooks, the shard's signal and progress."""

    shard_id: str
    clock: Clock
    random: Random
    hooks: Callable[[Fact], None]
    signal: Signal
    progress: Progress
