"""Who syncs shards in a KCL 2.x fleet: the first of all lease owners, sorted and shuffled with one seed everywhere.

A KCL 2.x has no lock: each worker shuffles the owners' names by itself, and all come to the same leader because Java
fixes both algorithms, ``java.util.Random`` and ``Collections.shuffle`` (their contracts are in the JDK's
documentation). The seed is the KCL's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["shuffle_leader", "shuffled"]

_SEED: Final = 1947
_MULTIPLIER: Final = 0x5DEECE66D
_INCREMENT: Final = 0xB
_STATE_MASK: Final = (1 << 48) - 1
_INT_BITS: Final = 31


class _JavaRandom:
    """The part of ``java.util.Random`` that a shuffle draws from: a linear congruential generator of 48 bits."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ _MULTIPLIER) & _STATE_MASK

    def below(self, bound: int) -> int:
        """``nextInt(bound)``: from 0 to ``bound`` - 1, each as likely as any other; ``bound`` is at least 1."""
        if bound & (bound - 1) == 0:
            return (bound * self._bits()) >> _INT_BITS
        while True:
            drawn = self._bits()
            value = drawn % bound
            # Java lets this sum overflow and draws again: the last values of the range are not as many as the others.
            if drawn - value + bound - 1 < 1 << _INT_BITS:
                return value

    def _bits(self) -> int:
        self._state = (self._state * _MULTIPLIER + _INCREMENT) & _STATE_MASK
        return self._state >> (48 - _INT_BITS)


def shuffled(owners: Iterable[str]) -> list[str]:
    """The distinct ``owners`` in the order in which a KCL 2.x would have them lead."""
    names = sorted(set(owners), key=_java_order)
    random = _JavaRandom(_SEED)
    for size in range(len(names), 1, -1):
        other = random.below(size)
        names[size - 1], names[other] = names[other], names[size - 1]
    return names


def shuffle_leader(owners: Iterable[str]) -> str | None:
    """The owner that syncs shards; None where no lease has an owner: then everybody does."""
    order = shuffled(owners)
    return order[0] if order else None


def _java_order(name: str) -> bytes:
    """Java compares strings by UTF-16 units, which puts what lies beyond 16 bits before the last few thousand below."""
    return name.encode("utf-16-be", "surrogatepass")
