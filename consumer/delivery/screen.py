"""Which records of a run are to be delivered: the filter, and own writes that are to be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from consumer.failures import Failure
from consumer.filters import Filter
from consumer.own_writes import OwnWrites
from consumer.record import Record

__all__ = ["Screen", "Sifted"]

_NONE: Final[Mapping[int, Failure]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sifted:
    """Positions, ascending: ``kept`` are to be delivered; ``unjudged``, for these reasons, to become dead letters.

    ``doubtful``: all that the filter could not judge, whatever becomes of it.
    """

    kept: Sequence[int]
    unjudged: Mapping[int, Failure] = field(default_factory=lambda: _NONE)
    doubtful: Mapping[int, Failure] = field(default_factory=lambda: _NONE)


class Screen:
    """A filter and the knowledge of own writes, of which either may be None.

    What the filter can't judge (no JSON, a predicate that raises) is delivered, or with ``delivers_unjudged`` False
    becomes a dead letter: it is never dropped.
    """

    def __init__(self, filter: Filter | None, own_writes: OwnWrites | None, *, delivers_unjudged: bool) -> None:
        self._filter = filter
        self._own_writes = own_writes
        self._delivers_unjudged = delivers_unjudged

    def sift(self, records: Sequence[Record]) -> Sifted:
        """What becomes of each of ``records``; what is in neither is done."""
        kept: Sequence[int] = range(len(records))
        doubtful = _NONE
        if self._filter is not None:
            verdicts = self._filter.split(records)
            kept = verdicts.accepted
            if verdicts.failed or verdicts.undecodable:
                doubtful = {**verdicts.undecodable, **verdicts.failed}
        if doubtful and self._delivers_unjudged:
            kept = sorted({*kept, *doubtful})
        if self._own_writes is not None:
            kept = [at for at in kept if not self._own_writes.is_own_write(records[at])]
        return Sifted(kept, _NONE if self._delivers_unjudged else doubtful, doubtful)
