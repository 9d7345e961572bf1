"""Who leads among KCL 2.x workers: the first of all owners after Java's own shuffle under a fixed seed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["leader_of", "shuffled"]

_SEED: Final = 1947
_MULTIPLIER: Final = 0x5DEECE66D
_MASK: Final = (1 << 48) - 1


class _JavaRandom:
    """Java's linear congruential generator."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ _MULTIPLIER) & _MASK

    def _bits(self) -> int:
        self._state = (self._state * _MULTIPLIER + 0xB) & _MASK
        return self._state >> 17

    def below(self, bound: int) -> int:
        """A number below ``bound``: by the high bits where it is a power of two, else by rejection."""
        bits = self._bits()
        if bound & (bound - 1) == 0:
            return (bound * bits) >> 31
        while bits - bits % bound + (bound - 1) >= 1 << 31:
            bits = self._bits()
        return bits % bound


def shuffled(names: Collection[str]) -> list[str]:
    """The names in natural order, then in Java's."""
    order, draw = sorted(names), _JavaRandom(_SEED)
    for size in range(len(order), 1, -1):
        other = draw.below(size)
        order[size - 1], order[other] = order[other], order[size - 1]
    return order


def leader_of(owners: Collection[str]) -> str | None:
    """None where nobody owns a lease: then everybody takes itself for the leader."""
    return next(iter(shuffled(owners)), None)
