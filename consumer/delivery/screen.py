"""Which records of a run are to be delivered: the filter, own writes to be left out, and what has no lane's key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from consumer.delivery.lane_key import told_key
from consumer.failures import Failure
from consumer.filters import Filter
from consumer.own_writes import OwnWrites
from consumer.record import Record

__all__ = ["Screen", "Sifted"]

_NONE: Final[Mapping[int, Failure]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sifted:
    """Positions, ascending: ``kept`` are to be delivered; ``unjudged``, for these reasons, to become dead letters.

    ``doubtful``: all that the filter or ``lane_key`` could not judge, whatever becomes of it.
    """

    kept: Sequence[int]
    unjudged: Mapping[int, Failure] = field(default_factory=lambda: _NONE)
    doubtful: Mapping[int, Failure] = field(default_factory=lambda: _NONE)


class Screen:
    """A filter, the knowledge of own writes, and the user's ``lane_key``, of which each may be None.

    What the filter can't judge (no JSON, a predicate that raises), or has no key to be ordered by, is delivered, or
    with ``delivers_unjudged`` False becomes a dead letter: it is never dropped, and holds up no other.
    """

    def __init__(
        self,
        filter: Filter | None,
        own_writes: OwnWrites | None,
        lane_key: Callable[[Any], str] | None,
        *,
        delivers_unjudged: bool,
    ) -> None:
        self._filter = filter
        self._own_writes = own_writes
        self._lane_key = lane_key
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
        if self._lane_key is not None:
            told = {at: told_key(self._lane_key, records[at]) for at in kept}
            unkeyed = {at: failure for at, failure in told.items() if isinstance(failure, Failure)}
            if unkeyed:
                doubtful = {**doubtful, **unkeyed}
                kept = kept if self._delivers_unjudged else [at for at in kept if at not in unkeyed]
        return Sifted(kept, _NONE if self._delivers_unjudged else doubtful, doubtful)
