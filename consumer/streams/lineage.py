"""The family tree of a stream's shards, as a listing and the lease table tell it together: pure, and unshakeable.

What services list is odd at times: a parent that is its own child, two shards that are each other's parent, one shard
twice, a child before its parent. Every function here takes any such graph and gives the same answer for the same
input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from consumer.streams.source import Shard
from lease_store.lease import Lease

__all__ = ["Lineage", "merged", "shard_created_at"]

ValueT = TypeVar("ValueT", str, float, tuple[str, str])

_MILLIS_DIGITS = 20


def shard_created_at(shard_id: str) -> float | None:
    """Epoch seconds from a DynamoDB shard's id (``shardId-<20 digits, epoch milliseconds>-<suffix>``); None for others.

    Ids are opaque by contract, so whatever does not look like a time of this century says nothing.
    """
    prefix, _, rest = shard_id.partition("-")
    digits, dash, suffix = rest.partition("-")
    if prefix != "shardId" or len(digits) != _MILLIS_DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    if not dash or not suffix:
        return None
    seconds = int(digits) / 1000
    return seconds if 946_684_800 <= seconds < 4_102_444_800 else None  # the years 2000 to 2099


def merged(shards: Iterable[Shard]) -> dict[str, Shard]:
    """One shard an id. What its entries say adds up, whatever their order: closed outweighs open, young outweighs old.

    Taken for younger than it is, a shard is read from its beginning; taken for older, its records might be left out.
    """
    found: dict[str, Shard] = {}
    for shard in shards:
        known = found.get(shard.id)
        if known is None:
            found[shard.id] = shard
            continue
        found[shard.id] = replace(
            known,
            parents=tuple(sorted({*known.parents, *shard.parents})),
            is_open=known.is_open and shard.is_open,
            hash_range=_greater(known.hash_range, shard.hash_range),
            created_at=_greater(known.created_at, shard.created_at),
        )
    return found


def _greater(one: ValueT | None, other: ValueT | None) -> ValueT | None:
    return max((value for value in (one, other) if value is not None), default=None)


class Lineage:
    """Who comes from whom, over everything that a listing or a row names; edges within a loop do not count.

    ``order`` has every shard once, parents before children, else by id.
    """

    __slots__ = ("_loops", "children", "order", "parents")

    def __init__(self, shards: Iterable[Shard], leases: Iterable[Lease]) -> None:
        named: dict[str, set[str]] = {}
        for shard in shards:
            named.setdefault(shard.id, set()).update(shard.parents)
        for lease in leases:
            named.setdefault(lease.key, set()).update(lease.parents)
            for child in lease.children:
                named.setdefault(child, set()).add(lease.key)
        for parent in {parent for parents in named.values() for parent in parents}:
            named.setdefault(parent, set())
        every_parent = {name: tuple(sorted(parents)) for name, parents in sorted(named.items())}
        self.order = _parents_first(every_parent)
        component = _components(self.order, every_parent)
        self._loops = {
            name for name, parents in every_parent.items() if any(component[name] == component[p] for p in parents)
        }
        self.parents: Mapping[str, tuple[str, ...]] = {
            name: tuple(parent for parent in parents if component[parent] != component[name])
            for name, parents in every_parent.items()
        }
        self.children = _inverted(self.parents)

    @property
    def looped(self) -> frozenset[str]:
        """Shards that are their own ancestors, by what was named."""
        return frozenset(self._loops)

    def ancestors(self, of: Iterable[str]) -> set[str]:
        """Everything that any of ``of`` comes from, themselves left out unless another of them comes from them."""
        return _reachable(of, self.parents)

    def descendants(self, of: Iterable[str]) -> set[str]:
        """Everything that comes from any of ``of``, themselves left out unless they come from another of them."""
        return _reachable(of, self.children)


def _inverted(parents: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for parent in above:
            children[parent].append(name)
    return {name: tuple(sorted(below)) for name, below in children.items()}


def _reachable(start: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    ahead = [there for here in start for there in edges.get(here, ())]
    while ahead:
        here = ahead.pop()
        if here not in found:
            found.add(here)
            ahead.extend(edges.get(here, ()))
    return found


def _parents_first(parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Depth first, each shard after all of its parents that do not come from it."""
    order: list[str] = []
    seen: set[str] = set()
    for root in parents:
        ahead = [(root, False)]
        while ahead:
            name, is_left = ahead.pop()
            if is_left:
                order.append(name)
            elif name not in seen:
                seen.add(name)
                ahead.append((name, True))
                ahead.extend((parent, False) for parent in reversed(parents[name]))
    return tuple(order)


def _components(order: tuple[str, ...], parents: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Kosaraju's strongly connected components: shards with one number are each other's ancestors."""
    children = _inverted(parents)
    component: dict[str, int] = {}
    for root in reversed(order):
        ahead = [root] if root not in component else []
        while ahead:
            name = ahead.pop()
            if name not in component:
                component[name] = len(order) - len(component) if name == root else component[root]
                ahead.extend(child for child in children[name] if child not in component)
    return component
