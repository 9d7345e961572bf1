"""Which leases leave a worker that has borne too much for long, and where they may go. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

__all__ = ["WARM", "Scales", "Weights", "relieve"]

WARM: Final = 1.1
"""What a worker may bear in the end, as a share of the mean: the KCL's band."""
_DAMPENED: Final = 0.6
_WORTH_MOVING: Final = 0.02


@dataclass(frozen=True, slots=True)
class Weights:
    """What a leader knows of loads, in one unit (KB/s or percent): of each worker as next owner, and of each lease.

    ``enough``: what a worker may bear after it was given a lease for the sake of numbers. ``excess``: by how much those
    are above the ``mean`` whose load has stayed beyond a band. ``closed``: those, and who was among them and has not
    cooled since, are given nothing. ``resting``: leases that moved lately stay.
    """

    workers: Mapping[str, float]
    leases: Mapping[str, float]
    mean: float
    enough: float
    excess: Mapping[str, float] = field(default_factory=dict)
    closed: AbstractSet[str] = frozenset()
    resting: AbstractSet[str] = frozenset()


class Scales:
    """What each worker bears while leases are moved about in a plan."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._borne = dict(weights.workers)

    def borne(self, worker_id: str) -> float:
        return self._borne.get(worker_id, 0.0)

    def weight(self, key: str) -> float:
        return self._weights.leases.get(key, 0.0)

    def move(self, key: str, donor: str, receiver: str) -> None:
        """The lease changes its owner."""
        self._borne[donor] = self.borne(donor) - self.weight(key)
        self._borne[receiver] = self.borne(receiver) + self.weight(key)

    def pop(self, keys: list[str], donor: str, receiver: str) -> str | None:
        """Moves and returns the last of ``keys`` that the receiver may be given for the sake of numbers.

        It must bear enough with it, or no more than the donor is left with. None, and nothing moved, where there is
        none.
        """
        for place in range(len(keys) - 1, -1, -1):
            weight = self.weight(keys[place])
            if self.borne(receiver) + weight <= max(self._weights.enough, self.borne(donor) - weight):
                key = keys.pop(place)
                self.move(key, donor, receiver)
                return key
        return None


def relieve(
    movable: Mapping[str, Sequence[str]], places: Mapping[str, int], weights: Weights
) -> list[tuple[str, str, str]]:
    """Moves (key, donor, receiver) of ``movable`` leases by donor, to who bears least and has ``places`` left.

    No lease leaves that would take its donor below the band, or its receiver both above it and beyond what the donor is
    left with: the trouble would move with it. None leaves that weighs next to nothing. After the first, only as many as
    make up for a part of the excess (the KCL's 60 %): what is measured next decides about the rest.
    """
    scales, left = Scales(weights), dict(places)
    moves = []
    for donor, excess in sorted(weights.excess.items(), key=lambda each: (-each[1], each[0])):
        given = 0.0
        for key in sorted(movable.get(donor, ()), key=lambda key: (-scales.weight(key), key)):
            weight = scales.weight(key)
            most = _DAMPENED * excess - given if given else excess + (WARM - 1.0) * weights.mean
            if not _WORTH_MOVING * excess <= weight <= most or key in weights.resting:
                continue
            most = max(WARM * weights.mean, scales.borne(donor) - weight)
            room = [(scales.borne(name), name) for name, n in left.items() if n > 0]
            room = [(borne, name) for borne, name in room if borne + weight <= most]
            if room:
                _, receiver = min(room)
                scales.move(key, donor, receiver)
                left[receiver] -= 1
                given += weight
                moves.append((key, donor, receiver))
    return moves
