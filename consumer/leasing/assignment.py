"""Who should hold what: a pure function of what one worker sees. The same view gives the same plan on every worker."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from consumer.leasing.relief import Scales, Weights, relieve
from consumer.leasing.ring import share_out

__all__ = ["HandOff", "LeaseView", "Plan", "PlanView", "Take", "WorkerView", "plan", "spread"]

HAND_OFFS_TOWARDS_ONE: Final = 4
"""Most hand-offs that may be under way towards one worker: enough to fill it fast, few enough that each is noticed at
once. As many again may wait for a long batch to end.
"""


class LeaseView(NamedTuple):
    """One unfinished lease. ``owner`` is the next owner where a hand-off is pending (load counts for the next one).

    ``is_free``: without an actual owner, or unmoved for a failover time. ``may_move``: no hand-off pending and none
    taken back lately. ``is_slow``: its hand-off has been pending for seconds, as it does while a long batch runs; until
    it moves, its load counts for the present owner, so that something else is asked for instead.
    """

    key: str
    owner: str | None
    is_free: bool = False
    is_pending: bool = False
    may_move: bool = True
    actual_owner: str | None = None
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One live worker. ``max_leases`` None: no limit. A worker that drains (``may_receive`` False) is given nothing.

    ``is_kcl``: a Java KCL's, which plans by rules of its own and does none of this fleet's chores.
    """

    worker_id: str
    may_receive: bool = True
    max_leases: int | None = None
    is_kcl: bool = False


@dataclass(frozen=True, slots=True)
class PlanView:
    """All that a plan depends on. ``weights`` None: leases are balanced by number alone, as among peers."""

    leases: Sequence[LeaseView]
    workers: Sequence[WorkerView]
    weights: Weights | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """``worker_id`` should take the free lease ``key``."""

    key: str
    worker_id: str


@dataclass(frozen=True, slots=True)
class HandOff:
    """The lease ``key`` should go from ``owner`` to ``worker_id``."""

    key: str
    owner: str
    worker_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Moves that balance the fleet within one lease.

    ``later`` are hand-offs for when fewer are under way to their receivers. ``unplaced`` are free leases that every
    limit forbids, ``take_backs`` hand-offs under way without which it is balanced.
    """

    takes: tuple[Take, ...] = ()
    hand_offs: tuple[HandOff, ...] = ()
    later: tuple[HandOff, ...] = ()
    unplaced: tuple[str, ...] = ()
    take_backs: tuple[str, ...] = ()


def plan(view: PlanView) -> Plan:
    """Free leases go to the least loaded workers; then leases move from the most loaded until loads differ by one.

    What is balanced stays where it is, unless ``weights`` say that a worker bears too much: then a few of its leases
    move besides, and are not given back to it for the sake of numbers. How many a worker gets depends on loads alone
    (ties break by worker id), which free ones on the ring, so that workers whose views differ a little mean the same
    taker for nearly all of them. A worker that let one of its leases expire is about to be found dead: it is given
    nothing while there is anybody else.
    """
    suspects = {lease.actual_owner for lease in view.leases if lease.is_free} - {None}
    open_to_more = {worker.worker_id: worker for worker in view.workers if worker.may_receive}
    receivers = {name: worker for name, worker in open_to_more.items() if name not in suspects} or open_to_more
    load = dict.fromkeys(sorted(receivers), 0)
    slow: list[LeaseView] = []
    for lease in view.leases:
        if lease.is_slow and lease.actual_owner in load and not lease.is_free:
            load[lease.actual_owner] += 1
            slow.append(lease)
        elif not lease.is_free and lease.owner in load:
            load[lease.owner] += 1
    take_backs = (*_too_many(view.leases, load, view.weights), *_not_needed(slow, load, view.weights))
    receivers = _with_places_kept(slow, receivers)
    free = sorted(lease.key for lease in view.leases if lease.is_free)
    soon = [lease.key for lease in view.leases if lease.actual_owner in suspects and lease.owner not in load]
    placed = _place_free(free, soon, load, _open_by_weight(receivers, load, view.weights), receivers)
    takes = tuple(Take(key, placed[key]) for key in free if key in placed)
    unplaced = tuple(key for key in free if key not in placed)
    for worker_id in placed.values():
        load[worker_id] += 1
    open_now = _open_by_weight(receivers, load, view.weights)
    hand_offs, later = _balance(view.leases, load, open_now, view.weights)
    if view.weights is not None and not (takes or hand_offs or later):
        hand_offs = _relieve(view.leases, load, open_now, view.weights)
    return Plan(takes, hand_offs, later, unplaced, take_backs)


def _too_many(leases: Iterable[LeaseView], load: dict[str, int], weights: Weights | None) -> tuple[str, ...]:
    """Hand-offs on their way with which the next owner would have two more than the present one, and give one back.

    They were asked for in place of others that waited for long batches, and those have come after all. From here on
    ``load`` counts them where they are.
    """
    closed: AbstractSet[str] = frozenset() if weights is None else weights.closed
    under_way = [(lease.key, lease.actual_owner or "", lease.owner or "") for lease in leases if _is_under_way(lease)]
    keys = []
    for key, now, to in sorted(under_way):
        if now in load and to in load and load[to] - load[now] > 1 and now not in closed:
            load[now] += 1
            load[to] -= 1
            keys.append(key)
    return tuple(keys)


def _is_under_way(lease: LeaseView) -> bool:
    return lease.is_pending and not lease.is_slow and not lease.is_free


def _not_needed(slow: Iterable[LeaseView], load: Mapping[str, int], weights: Weights | None) -> tuple[str, ...]:
    """Slow hand-offs between workers whose loads differ by one at most, the lease being counted where it is.

    What leaves a worker that bears too much is not judged by number.
    """
    closed: AbstractSet[str] = frozenset() if weights is None else weights.closed
    moves = [(lease.key, lease.actual_owner or "", lease.owner or "") for lease in slow]
    even = [(key, now) for key, now, to in moves if now in load and to in load and load[now] - load[to] <= 1]
    return tuple(key for key, now in even if now not in closed)


def _open_by_weight(
    receivers: Mapping[str, WorkerView], load: Mapping[str, int], weights: Weights | None
) -> Mapping[str, WorkerView]:
    """Who bears too much has as many leases as it may."""
    if weights is None or not weights.closed:
        return receivers
    return {
        name: replace(worker, max_leases=load[name]) if name in weights.closed else worker
        for name, worker in receivers.items()
    }


def _with_places_kept(slow: Iterable[LeaseView], receivers: Mapping[str, WorkerView]) -> dict[str, WorkerView]:
    """Limits less what may still come of slow hand-offs."""
    kept = Counter(lease.owner for lease in slow)
    return {
        name: replace(worker, max_leases=worker.max_leases - kept[name])
        if kept[name] and worker.max_leases is not None
        else worker
        for name, worker in receivers.items()
    }


def spread(keys: Iterable[str], load: Mapping[str, int], workers: Iterable[WorkerView]) -> dict[str, str]:
    """A receiver for each of ``keys`` (a draining worker's leases) as far as limits allow, the least loaded first."""
    receivers = {worker.worker_id: worker for worker in workers if worker.may_receive}
    return _place(sorted(keys), {each: load.get(each, 0) for each in sorted(receivers)}, receivers)


def _place_free(
    free: Sequence[str],
    soon: Iterable[str],
    load: Mapping[str, int],
    open_now: Mapping[str, WorkerView],
    receivers: Mapping[str, WorkerView],
) -> dict[str, str]:
    """A receiver for each free lease, and for those that will be free ``soon``: what else suspects own.

    A dead worker's leases expire one after the other, for each peer at other instants. Placed together, each has the
    same receiver whichever of them a peer sees expired by now. What those who are ``open_now`` have no room for goes to
    any of ``receivers``: a lease that waits for nobody is worse than one with whoever bears too much.
    """
    keys = sorted({*free, *soon})
    placed = _place(keys, load, open_now)
    if len(placed) == len(keys):
        return placed
    placed = _place(free, load, open_now)  # limits leave no room for all: what is free already comes first
    left = [key for key in free if key not in placed]
    if left and open_now is not receivers:
        given = Counter(placed.values())
        placed |= _place(left, {name: count + given[name] for name, count in load.items()}, receivers)
    return placed


def _place(keys: Sequence[str], load: Mapping[str, int], receivers: Mapping[str, WorkerView]) -> dict[str, str]:
    """How many go to each: one after the other to the least loaded. Which ones: by the ring."""
    levels = _Levels(dict(load), receivers)
    room: Counter[str] = Counter()
    for _ in keys:
        worker_id = levels.lightest()
        if worker_id is None:
            break
        levels.add(worker_id, 1)
        room[worker_id] += 1
    return share_out(keys, room)


def _balance(
    leases: Sequence[LeaseView], load: dict[str, int], receivers: Mapping[str, WorkerView], weights: Weights | None
) -> tuple[tuple[HandOff, ...], tuple[HandOff, ...]]:
    """The hand-offs to be asked for now, and those that come when fewer are under way."""
    levels = _Levels(load, receivers)
    receiver = levels.lightest()
    if receiver is None or max(load.values()) - load[receiver] <= 1:
        return (), ()  # as nearly always: nothing is to be sorted for it
    under_way, waiting, movable = _in_motion(leases, load)
    scales = None if weights is None else Scales(weights)
    moves: list[HandOff] = []
    later: list[HandOff] = []
    while True:
        donor, receiver = levels.heaviest(movable), levels.lightest()
        if donor is None or receiver is None or load[donor] - load[receiver] <= 1:
            break
        key = movable[donor].pop() if scales is None else scales.pop(movable[donor], donor, receiver)
        if key is None:
            levels.close(receiver)
            continue
        levels.add(donor, -1)
        levels.add(receiver, 1)
        under_way[receiver] += 1
        few = under_way[receiver] <= HAND_OFFS_TOWARDS_ONE
        in_time = few and under_way[receiver] + waiting[receiver] <= 2 * HAND_OFFS_TOWARDS_ONE
        (moves if in_time else later).append(HandOff(key, donor, receiver))
    return tuple(moves), tuple(later)


def _relieve(
    leases: Sequence[LeaseView], load: Mapping[str, int], receivers: Mapping[str, WorkerView], weights: Weights
) -> tuple[HandOff, ...]:
    """The hand-offs that take from workers which bear too much, numbers being even."""
    if not weights.excess:
        return ()
    under_way, waiting, movable = _in_motion(leases, load)
    places = {}
    for name, worker in receivers.items():
        few = HAND_OFFS_TOWARDS_ONE - under_way[name] - waiting[name]
        places[name] = few if worker.max_leases is None else min(few, worker.max_leases - load[name])
    return tuple(HandOff(*move) for move in relieve(movable, places, weights))


def _in_motion(
    leases: Sequence[LeaseView], load: Mapping[str, int]
) -> tuple[dict[str, int], dict[str, int], dict[str, list[str]]]:
    """By worker: hand-offs under way towards it, those of them that are slow, and what it can give, the first last."""
    under_way, waiting = dict.fromkeys(load, 0), dict.fromkeys(load, 0)
    movable: dict[str, list[str]] = {worker_id: [] for worker_id in load}
    for lease in leases:
        if lease.owner is None or lease.owner not in load or lease.is_free:
            continue
        if lease.is_pending:
            (waiting if lease.is_slow else under_way)[lease.owner] += 1
        elif lease.may_move:
            movable[lease.owner].append(lease.key)
    for keys in movable.values():
        keys.sort(reverse=True)
    return under_way, waiting, movable


class _Levels:
    """The least loaded worker with room and the most loaded one that can give, at hand while ``load`` changes.

    Two heaps whose outdated entries are dropped when they come up: a plan for thousands of leases costs each of them a
    logarithm and not a look at every worker. ``load`` is changed in place, by ``add`` only.
    """

    def __init__(self, load: dict[str, int], receivers: Mapping[str, WorkerView]) -> None:
        self._load = load
        self._receivers = dict(receivers)
        self._names = sorted(load)
        self._rank = {worker_id: rank for rank, worker_id in enumerate(self._names)}
        self._light = [(load[worker_id], rank) for worker_id, rank in self._rank.items()]
        self._heavy = [(-load[worker_id], -rank) for worker_id, rank in self._rank.items()]
        heapq.heapify(self._light)
        heapq.heapify(self._heavy)

    def add(self, worker_id: str, leases: int) -> None:
        """``worker_id`` gets that many leases more."""
        self._load[worker_id] += leases
        rank = self._rank[worker_id]
        heapq.heappush(self._light, (self._load[worker_id], rank))
        heapq.heappush(self._heavy, (-self._load[worker_id], -rank))

    def close(self, worker_id: str) -> None:
        """``worker_id`` gets nothing more."""
        self._receivers[worker_id] = replace(self._receivers[worker_id], max_leases=0)

    def lightest(self) -> str | None:
        """The least loaded worker below its limit, the first by id."""
        while self._light:
            count, rank = self._light[0]
            worker_id = self._names[rank]
            limit = self._receivers[worker_id].max_leases
            if count == self._load[worker_id] and (limit is None or count < limit):
                return worker_id
            heapq.heappop(self._light)
        return None

    def heaviest(self, movable: Mapping[str, Sequence[str]]) -> str | None:
        """The most loaded worker that has something to give, the last by id."""
        while self._heavy:
            count, rank = -self._heavy[0][0], -self._heavy[0][1]
            worker_id = self._names[rank]
            if count == self._load[worker_id] and movable[worker_id]:
                return worker_id
            heapq.heappop(self._heavy)
        return None
