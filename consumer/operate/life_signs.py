"""Who lives in a table, told by what moves while it is watched, and how long that takes to be sure of. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from consumer.operate.findings import Look
from lease_store.lease import WorkerRow

__all__ = ["LifeSigns", "Sign"]

# A KCL 3.x worker writes its metric row every 30 s, and may miss one.
_KCL_ROW_SECONDS: Final = 75.0
_SLACK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One row that moves while somebody lives.

    ``what`` names it, ``value`` is what changes with each move, and after ``patience_seconds`` without a change nobody
    writes it any more.
    """

    what: str
    value: Hashable
    patience_seconds: float


class LifeSigns:
    """Watches the rows of a 3.x leader and of KCL 3.x workers over several looks; a row that comes up lives."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._watched: dict[str, tuple[Sign, float]] = {}
        self._alive: dict[str, str] = {}

    def see(self, look: Look) -> None:
        """Note a look at the table; looks come in the order of their instants."""
        is_first, now = self._began_at is None, look.at
        if self._began_at is None:
            self._began_at = now
        signs = dict(_signs_in(look))
        self._watched = {name: each for name, each in self._watched.items() if name in signs}
        for name, sign in signs.items():
            known = self._watched.setdefault(name, (sign, now))
            if known[0].value != sign.value or (known[1] == now and not is_first):
                self._alive[name] = sign.what

    @property
    def alive(self) -> tuple[str, ...]:
        """What was seen to be written while the table was watched."""
        return tuple(self._alive[name] for name in sorted(self._alive))

    def undecided(self, now: float) -> tuple[tuple[str, float], ...]:
        """What has not moved yet, and may still, with the seconds until it is sure to be dead."""
        left = ((sign.what, since + sign.patience_seconds - now) for sign, since in self._watched.values())
        return tuple((what, seconds) for what, seconds in left if seconds > 0)


def _signs_in(look: Look) -> Iterator[tuple[str, Sign]]:
    for place, lock in look.locks:
        if not lock.is_released:
            what = f"the leader lock of {lock.owner!r} (a lease of {lock.duration_seconds:g} s)"
            patience = lock.duration_seconds + _SLACK_SECONDS
            yield f"lock at {place}", Sign(what=what, value=(lock.owner, lock.version), patience_seconds=patience)
    for row in look.worker_rows:
        if row.beat is None:
            yield f"worker {row.worker_id}", _sign_of_kcl(row)


def _sign_of_kcl(row: WorkerRow) -> Sign:
    what = f"the metric row of the KCL 3.x worker {row.worker_id!r}"
    return Sign(what=what, value=row.updated_at, patience_seconds=_KCL_ROW_SECONDS)
