"""Which records of each shard user code saw, and in which tenure: nothing is lost, nothing comes again unbidden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from consumer.clock import Clock
from lease_store.lease import Lease

__all__ = ["Ledger", "Owner", "Tenure"]


class Tenure(Protocol):
    """One worker's time with a lease; ``first_lease`` is the row that began it, of which only the parents count."""

    @property
    def key(self) -> str: ...
    @property
    def first_lease(self) -> Any: ...


class Owner(Protocol):
    """A worker of any kind, which runs user code.

    ``starts_at_stored``: each of its tenures begins at the stored checkpoint, for sure. ``sure_slice_seconds``: how
    long a slice begun under trust may be to overlap with no other owner's.
    """

    name: str
    clock: Clock

    @property
    def is_up(self) -> bool: ...
    @property
    def starts_at_stored(self) -> bool: ...
    @property
    def sure_slice_seconds(self) -> float: ...
    def trusts(self, held: Any) -> bool: ...


class Ledger:
    """The records 1, 2, 3 ... of every shard.

    ``row_of`` is the table as it is, ``breach`` is told what must not be. ``is_wild``: clocks drift so much that two
    workers may process at once; then only loss is judged. ``is_cut_short``: whether this worker's tenure of this lease
    was ended by another, without its knowing and without a trace for the next owner.
    """

    def __init__(
        self,
        row_of: Callable[[str], Lease | None],
        breach: Callable[[str], None],
        is_wild: Callable[[], bool],
        is_cut_short: Callable[[str, str], bool] = lambda worker, key: False,
    ) -> None:
        self._row_of = row_of
        self._breach = breach
        self._is_wild = is_wild
        self._is_cut_short = is_cut_short
        self._returned: dict[str, dict[int, tuple[Owner, Tenure]]] = {}
        self._slices: dict[str, dict[Tenure, tuple[Owner, float]]] = {}

    @property
    def returned(self) -> int:
        """How many different records user code is through with."""
        return sum(len(records) for records in self._returned.values())

    def done(self, key: str) -> int:
        """The last record of the shard that user code is through with; every one before it is done, too."""
        return len(self._returned.get(key, ()))

    def done_by(self, worker: str, key: str) -> int:
        """The last record of the shard that this worker was through with, and nobody else after it."""
        return max(
            (record for record, (who, _) in self._returned.get(key, {}).items() if who.name == worker), default=0
        )

    def began(self, worker: Owner, held: Tenure, record: int) -> None:
        """User code gets a record."""
        key, done = held.key, self.done(held.key)
        for parent in held.first_lease.parents:
            row = self._row_of(parent)
            if row is not None and not row.is_finished:
                self._breach(f"{key} starts in {worker.name} before {parent} ended")
        if record > done + 1:
            self._breach(f"{worker.name} gets record {record} of {key}, but {done + 1} was never done")
        if not self._is_wild() and worker.starts_at_stored and not self._is_cut_short(worker.name, key):
            self._check_again(worker, held, record)
            self._check_overlap(worker, key)
        self._slices.setdefault(key, {})[held] = (worker, worker.clock.monotonic())

    def _check_again(self, worker: Owner, held: Tenure, record: int) -> None:
        """A record whose turn returned comes again only after its tenure ended before the checkpoint was stored."""
        row = self._row_of(held.key)
        if row is not None and (row.is_finished or (row.checkpoint.is_number and record <= _number(row))):
            self._breach(f"{worker.name} gets record {record} of {held.key}, whose checkpoint is {row.checkpoint}")
        who, before = self._returned.get(held.key, {}).get(record, (None, None))
        if before is held:
            self._breach(f"{worker.name} gets record {record} of {held.key} twice in one tenure")
        elif who is not None and who.trusts(before) and not self._is_cut_short(who.name, held.key):
            self._breach(f"{worker.name} gets record {record} of {held.key}, while {who.name} trusts its tenure")

    def _check_overlap(self, worker: Owner, key: str) -> None:
        """A slice begun under trust and shorter than the margin, less 1 % of F, overlaps with no other owner's."""
        for other, since in self._slices.get(key, {}).values():
            is_short = other.is_up and other.clock.monotonic() - since <= other.sure_slice_seconds
            if is_short and not self._is_cut_short(other.name, key):
                self._breach(f"a short slice of {key} in {other.name} overlaps with one in {worker.name}")

    def ended(self, worker: Owner, held: Tenure, record: int, *, returned: bool) -> None:
        """User code is through with a record, or raised, or was cancelled."""
        self._slices.get(held.key, {}).pop(held, None)
        if returned:
            self._returned.setdefault(held.key, {})[record] = (worker, held)

    def is_running(self, worker: Owner, key: str) -> bool:
        """Whether user code of the shard runs in this worker."""
        return any(who is worker for who, _ in self._slices.get(key, {}).values())

    def died(self, worker: Owner) -> None:
        """No user code of this worker runs any more."""
        for slices in self._slices.values():
            for held in [held for held, (who, _) in slices.items() if who is worker]:
                del slices[held]

    def stored(self, worker: str, row: Lease, records: int | None) -> None:
        """A checkpoint was stored; ``records`` is how many the shard has, None while it is open."""
        done = self.done(row.key)
        if row.is_finished and (records is None or done < records):
            self._breach(f"{worker} stored SHARD_END of {row.key} with {done} of {records} records done")
        elif row.checkpoint.is_number and _number(row) > done:
            self._breach(f"{worker} stored {row.checkpoint} for {row.key}, of which {done} records are done")


def _number(row: Lease) -> int:
    return int(row.checkpoint.sequence_number)
