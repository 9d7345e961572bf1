"""What I saw of each row, and when by my own clock: the only ground on which anyone is suspected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from lease_store.lease import Lease, WorkerRow, share_values

__all__ = ["Observation", "Observations", "Ousted", "Peer", "Peers"]


_FIRST_BEATS: Final = 3
_KCL_SILENCE_SECONDS: Final = 60.0
_LATEST_SCAN_SECONDS: Final = 120


class Ousted(NamedTuple):
    """An owner whose lease was given away though it had not let go, and when (my clock) it wrote last, at the latest.

    ``owner`` is empty where nobody saw who it was.
    """

    owner: str
    wrote_at: float


class Observation(NamedTuple):
    """A row as last seen, and when (my monotonic clock) its counter and its take-back mark were seen to move.

    ``pending_since``: when the hand-off that is under way was first seen; None where none is. ``moved_by_owner``:
    whether its last move was its actual owner's, and not the one that made it its owner; None where no move was seen.
    ``ousted``: the last of its owners that did not let go by itself; None where none is known.
    """

    lease: Lease
    seen_at: float
    taken_back_at: float | None = None
    pending_since: float | None = None
    moved_by_owner: bool | None = None
    ousted: Ousted | None = None

    def free_at(self, failover_seconds: float) -> float:
        """From when anyone may take it: at once without an actual owner, else a failover time after its last move."""
        return self.seen_at if self.lease.actual_owner is None else self.seen_at + failover_seconds


class Observations:
    """Observations by lease key. Time moves only on a greater counter or another incarnation, never on an owner alone.

    A scan is eventually consistent and may go back: an older counter is ignored, and at an equal counter the row with a
    pending hand-off is the newer one, since starting a hand-off is the only write that leaves the counter alone.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, Observation] = {}
        self._keys: list[str] | None = []  # sorted; None where keys came or went since

    def __getitem__(self, key: str) -> Observation:
        return self._by_key[key]

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[Observation]:
        return iter([self._by_key[key] for key in self.keys()])

    def __len__(self) -> int:
        return len(self._by_key)

    def keys(self) -> list[str]:
        """All keys, sorted once for as long as none comes or goes."""
        if self._keys is None:
            self._keys = sorted(self._by_key)
        return self._keys

    def get(self, key: str) -> Observation | None:
        return self._by_key.get(key)

    def see(self, lease: Lease, now: float) -> bool:
        """Note a row whose reply came at ``now``; True where its counter moved (or it is new)."""
        known = self._by_key.get(lease.key)
        if known is not None and known.lease is not lease:
            share_values(lease, known.lease)
        if known is None or known.lease.created_at != lease.created_at:
            if known is None:
                self._keys = None
            taken_back_at = None if lease.taken_back is None else now
            pending_since = now if lease.is_pending else None
            ousted = Ousted("", now) if lease.owner_switches_since_checkpoint else None
            self._by_key[lease.key] = Observation(lease, now, taken_back_at, pending_since, None, ousted)
            return True
        if lease.counter < known.lease.counter:
            return False
        if lease.counter == known.lease.counter:
            if lease is not known.lease and not known.lease.is_pending:
                self._by_key[lease.key] = known._replace(lease=lease, pending_since=now if lease.is_pending else None)
            return False
        taken_back_at = known.taken_back_at if lease.taken_back == known.lease.taken_back else now
        goes_on = lease.owner == known.lease.owner and known.pending_since is not None
        pending_since = (known.pending_since if goes_on else now) if lease.is_pending else None
        by_owner = lease.actual_owner == known.lease.actual_owner
        ousted = known.ousted if by_owner else _ousted(known, lease, now)
        self._by_key[lease.key] = Observation(lease, now, taken_back_at, pending_since, by_owner, ousted)
        return True

    def see_scan(self, leases: Iterable[Lease], now: float, *, began: float) -> list[Lease]:
        """Note a whole scan that took from ``began`` to ``now``. Returns the rows whose counter moved.

        Rows that are missing from it are forgotten, but for those that moved meanwhile: a scan of many pages may have
        passed the place of a row that was made since.
        """
        rows = list(leases)
        present = {lease.key for lease in rows}
        for key in [key for key, seen in self._by_key.items() if key not in present and seen.seen_at < began]:
            self.forget(key)
        return [lease for lease in rows if self.see(lease, now)]

    def forget(self, key: str) -> None:
        """The row is gone."""
        if self._by_key.pop(key, None) is not None:
            self._keys = None


def _ousted(known: Observation, lease: Lease, now: float) -> Ousted | None:
    """Who has not let go, where a lease has passed from the owner that was ``known`` to that of ``lease``.

    The count of switches tells: hand-offs leave it alone, a checkpoint sets it to zero. Where the counter has moved by
    one, that was the ousting itself, and what the owner wrote last is what was known; else it may have written since.
    """
    before = known.lease
    switches = lease.owner_switches_since_checkpoint
    was_reset = lease.checkpoint != before.checkpoint
    if switches <= (0 if was_reset else before.owner_switches_since_checkpoint):
        return known.ousted
    return Ousted(before.actual_owner or "", known.seen_at if lease.counter == before.counter + 1 else now)


class Peer(NamedTuple):
    """Another worker's row, when it or one of its leases last moved, and whether the row itself was ever seen to.

    ``is_doubted``: a lease of it stood still for a failover time, and nothing of it has moved since.
    """

    row: WorkerRow
    moved_at: float
    has_moved: bool = False
    is_doubted: bool = False

    @property
    def is_kcl(self) -> bool:
        """Whether a Java KCL wrote the row: it has no beat, and comes anew every 30 s."""
        return self.row.beat is None

    @property
    def may_receive(self) -> bool:
        """Whether a lease may be handed to it: its row was seen to move, and it is neither draining nor failing."""
        return self.has_moved and not self.row.draining and (not self.is_kcl or _is_well(self.row))

    def is_alive(self, now: float, failover_seconds: float) -> bool:
        """From first sight until a failover time (the longer of mine and its own; a KCL's: 60 s) without a move."""
        its_own = _KCL_SILENCE_SECONDS if self.is_kcl else self.row.failover_seconds or 0.0
        return not self.is_doubted and now < self.moved_at + max(failover_seconds, its_own)


def _is_well(row: WorkerRow) -> bool:
    """Whether a KCL's leader would give leases to a worker with this row.

    It wants the time of update, a range above 0 for each metric, and a newest sample that is not -1 (capture failed).
    """
    return row.updated_at > 0 and all(
        samples and samples[-1] >= 0 and row.ranges.get(name, ()) and row.ranges[name][0] > 0
        for name, samples in row.samples.items()
    )


def _has_moved(known: WorkerRow, row: WorkerRow) -> bool:
    """Whether ``row`` is a later one. A late scan shows a KCL's older row again, a clock set back one far older."""
    if row.beat is not None:
        return row.beat > (known.beat or 0)
    if row.updated_at != known.updated_at:
        return row.updated_at > known.updated_at or row.updated_at < known.updated_at - _LATEST_SCAN_SECONDS
    return (row.samples, row.support_updated_at) != (known.samples, known.support_updated_at)


class Peers:
    """The other workers by id. Wall times in their rows are compared with each other, never with a clock of mine.

    A KCL's worker is judged by what changes, too. A row of one that stood in the first scan may be a dead one's, so it
    receives nothing before it or a lease of its moves; one that appears later has just been written.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._by_id: dict[str, Peer] = {}
        self._has_scanned = False

    def __iter__(self) -> Iterator[Peer]:
        return iter([self._by_id[worker_id] for worker_id in sorted(self._by_id)])

    def get(self, worker_id: str) -> Peer | None:
        return self._by_id.get(worker_id)

    def see(self, row: WorkerRow, now: float) -> None:
        """Note one worker's row."""
        if row.worker_id == self._me:
            return
        known = self._by_id.get(row.worker_id)
        if known is None:
            self._by_id[row.worker_id] = Peer(row, now, has_moved=row.beat is None and self._has_scanned)
        elif _has_moved(known.row, row):
            self._by_id[row.worker_id] = Peer(row, now, has_moved=True)

    def see_scan(self, rows: Iterable[WorkerRow], now: float) -> None:
        """Note all workers' rows of a scan; a row that is gone is a worker that left."""
        rows = list(rows)
        present = {row.worker_id for row in rows}
        for worker_id in [each for each in self._by_id if each not in present]:
            del self._by_id[worker_id]
        for row in rows:
            self.see(row, now)
        self._has_scanned = True

    def see_lease_moved(self, owner: str | None, now: float) -> None:
        """A lease whose actual owner is ``owner`` moved: it lives, though its own row may be late."""
        peer = self._by_id.get(owner or "")
        if peer is not None:
            has_moved = peer.has_moved or peer.is_kcl
            self._by_id[peer.row.worker_id] = peer._replace(moved_at=now, has_moved=has_moved, is_doubted=False)

    def see_still(self, owner: str, *, is_led: bool = False) -> None:
        """A lease of ``owner`` stood still for a failover time, or its leader's lock ran out.

        A KCL's would go on being given leases for the rest of a minute. A worker of ours falls silent in its own row as
        soon, or a beat later: among peers, who ask for leases themselves, that will do; where a leader gives them
        (``is_led``) it would be given more meanwhile.
        """
        peer = self._by_id.get(owner)
        if peer is not None and (is_led or peer.is_kcl):
            self._by_id[owner] = peer._replace(is_doubted=True)

    def alive(self, now: float, failover_seconds: float) -> list[Peer]:
        """Peers that live, by id; draining ones too."""
        return [peer for peer in self if peer.is_alive(now, failover_seconds)]

    def has_new(self, now: float, failover_seconds: float) -> bool:
        """Whether one that lives had hardly begun when its row was last seen."""
        return any(
            peer.row.beat is not None and peer.row.beat <= _FIRST_BEATS for peer in self.alive(now, failover_seconds)
        )

    def failover_of(self, worker_id: str | None, mine: float) -> float:
        """How long its leases must stand still before I suspect it: the longer of its failover time and mine."""
        peer = self._by_id.get(worker_id or "")
        return max(mine, peer.row.failover_seconds or 0.0) if peer is not None else mine
