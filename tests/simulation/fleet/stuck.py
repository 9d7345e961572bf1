"""Poison that stays so where nothing may be given up, and what has to wait behind it: all else is to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.simulation.fleet.accounts import Accounts
from tests.simulation.fleet.written import Place, Written

__all__ = ["Stuck"]


class Stuck:
    """Records that fail for good. ``parents`` are those of each shard of a stream."""

    def __init__(self, accounts: Accounts, parents: Callable[[str], Mapping[str, tuple[str, ...]]]) -> None:
        self._accounts = accounts
        self._parents = parents

    def held_back(self) -> Callable[[Written], bool]:
        """Whether a record may wait for as long as those fail: behind one in its shard, or in a shard after that."""
        stuck = list(self._accounts.stuck())
        below = self.places()

        def is_held_back(record: Written) -> bool:
            here = [each for each in stuck if each.place == record.place]
            if any(record is each or self._accounts.waits_behind(record, each) for each in here):
                return True
            return record.place in below and not here

        return is_held_back if stuck else lambda _: False

    def unfinished(self) -> set[Place]:
        """Shards that do not end."""
        return self.places() | {each.place for each in self._accounts.stuck()}

    def places(self) -> set[Place]:
        """Shards that have to wait for the end of one with such a record."""
        found: set[Place] = set()
        for place in {each.place for each in self._accounts.stuck()}:
            parents, kin = self._parents(place[0]), {place[1]}
            while more := {each for each, above in parents.items() if kin & set(above)} - kin:
                kin |= more
            found |= {(place[0], each) for each in kin - {place[1]}}
        return found
