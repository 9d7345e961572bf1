"""Balance among workers that know each other by their leases alone, as a KCL 2.x does: a pure function of one's view.

Each worker counts, for itself, whose leases move, and reckons the share of each: all leases over all owners, rounded
up. Who has less takes what is free, and where nothing is, robs the most loaded of one lease: that is the KCL 2.x's rule
(its ``DynamoDBLeaseTaker``), and a worker that owns nothing yet has no other way to be seen. Two things are ours. What
its owner let expire is taken by anybody, since a KCL's takers look only every two failover times. And who has more than
its share lets the surplus go, so that nobody need rob it: a robbed lease's records since its last checkpoint repeat.

The sum of what others lack is never less than the surplus of all, because shares are rounded up: so each lets its own
surplus go without asking anybody, and a free lease that nobody owned last is left to those who lack one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from consumer.leasing.names import seems_ours

__all__ = ["TwoXPlan", "TwoXRow", "TwoXView", "two_x_plan"]


class TwoXRow(NamedTuple):
    """One lease. ``owner`` None: nobody's.

    ``is_expired``: owned, and unmoved for a failover time. ``is_very_old``: unmoved for three. ``is_finished``: its
    shard's end is stored. A KCL goes on renewing such a row and counts it, we do neither: it is in a view if it moves.
    """

    key: str
    owner: str | None
    is_expired: bool = False
    is_very_old: bool = False
    is_finished: bool = False


@dataclass(frozen=True, slots=True)
class TwoXView:
    """All that the plan depends on.

    ``leaving`` are leases of mine that I am letting go, ``resting`` those that I shall not let go yet. ``newcomers``
    are workers known to have come, though no lease names them yet. ``max_leases`` None: no limit.
    """

    me: str
    rows: Sequence[TwoXRow]
    leaving: Collection[str] = ()
    resting: Collection[str] = ()
    newcomers: Collection[str] = ()
    max_leases: int | None = None


@dataclass(frozen=True, slots=True)
class TwoXPlan:
    """What I should do. Keys in the order in which to do it.

    ``takes`` are free leases of my share, ``spare`` those that somebody's death left and that others may come for
    first, ``unwanted`` those that were let go and nobody took, ``rob`` a live worker's lease, where nothing is free;
    ``releases`` is my whole surplus, ``needy`` are the others who lack something. ``lacking``: how many leases I am
    short of my share.
    """

    takes: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    rob: str | None = None
    releases: tuple[str, ...] = ()
    needy: tuple[str, ...] = ()
    lacking: int = 0


def two_x_plan(view: TwoXView) -> TwoXPlan:
    """What ``view.me`` should take, rob or let go."""
    free = [row for row in view.rows if not row.is_finished and (row.owner is None or row.is_expired)]
    held = [row for row in view.rows if row.owner is not None and not row.is_expired]
    count = Counter(row.owner for row in held if row.owner is not None)
    mine = count.setdefault(view.me, 0)
    for name in view.newcomers:
        count.setdefault(name, 0)
    share = max(1, -(-(len(held) + len(free)) // len(count)))
    limit = len(view.rows) if view.max_leases is None else view.max_leases
    lacking = max(0, min(share, limit) - mine)
    takes = _taken(view.me, free, lacking, sum(max(0, mine - leases) for leases in count.values()))
    rest, room = [row for row in free if row.key not in takes], max(0, limit - mine - len(takes))
    return TwoXPlan(
        takes=takes,
        spare=tuple(row.key for row in rest if row.owner is not None)[:room],
        unwanted=tuple(row.key for row in rest if row.owner is None and row.is_very_old)[:room],
        rob=None if free or not lacking else _robbed(view.me, held, count, share, lacking),
        releases=_released(view, held, mine - share or (not free and _is_to_give(view.me, count, share))),
        needy=tuple(sorted(owner for owner, leases in count.items() if leases < share and owner != view.me)),
        lacking=lacking,
    )


def _taken(me: str, free: list[TwoXRow], lacking: int, kept: int) -> tuple[str, ...]:
    """As many as I lack: what a death left, then what was let go, but for what others lack more than I do (``kept``).

    Or who gives one to somebody that lacks two would take it back, lacking one then.
    """
    free.sort(key=lambda row: (row.owner is None, _rank(me, row.key)))
    let_go = sum(row.owner is None for row in free)
    return tuple(row.key for row in free[: min(lacking, len(free) - min(let_go, kept))])


def _robbed(me: str, held: Sequence[TwoXRow], count: Counter[str], share: int, lacking: int) -> str | None:
    """One lease of the most loaded, if it has more than its share, or just its share while I lack two at least."""
    others = {owner: leases for owner, leases in count.items() if owner != me}
    most, _, victim = max(_loads(others), default=(0, False, me))
    if most < share or (most == share and lacking < 2):
        return None
    keys = [row.key for row in held if row.owner == victim and not row.is_finished]
    return min(keys, key=lambda key: _rank(me, key), default=None)


def _loads(count: Mapping[str, int]) -> Iterator[tuple[int, bool, str]]:
    """Workers to be ordered by load; of those with the same, ours after a KCL's, since they let go when it is seen."""
    return ((leases, seems_ours(owner), owner) for owner, leases in count.items())


def _is_to_give(me: str, count: Mapping[str, int], share: int) -> int:
    """1 where somebody lacks two at least and I am whom it would rob, having just my share."""
    return int(min(count.values()) <= share - 2 and max(_loads(count))[2] == me)


def _released(view: TwoXView, held: Sequence[TwoXRow], surplus: int) -> tuple[str, ...]:
    """My surplus but for what rests: first what is leaving already, so that no two batches are stopped for one."""
    mine = [row.key for row in held if row.owner == view.me and not row.is_finished]
    keys = [key for key in mine if key not in view.resting]
    surplus -= len(mine) - len(keys)
    return tuple(sorted(keys, key=lambda key: (key not in view.leaving, key))[: max(0, surplus)])


def _rank(me: str, key: str) -> tuple[int, str]:
    """Each worker has an order of its own, so that two of them seldom reach for the same lease."""
    return crc32(f"{me}#{key}".encode()), key
