"""Drawn fleets of KCL 2.x workers and ours: whoever joins, dies or leaves, all leases are owned and come to rest."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from consumer.testing.virtual_time import run_virtual
from lease_store import verbs
from tests.unit.leasing.kcl_2x import Kcl2x
from tests.unit.leasing.two_x_stage import Python, Shared


class Fleet:
    """A drawn fleet in a shared table; watches how long any lease lies idle, and what is read by two at once."""

    def __init__(self, shared: Shared, draw: random.Random) -> None:
        self.shared = shared
        self.draw = draw
        self.javas: dict[str, Kcl2x] = {}
        self.pythons: dict[str, Python] = {}
        self.born = 0

    def join(self) -> None:
        self.born += 1
        if self.draw.random() < 0.5:
            name = f"java-{self.born}"
            self.javas[name] = self.shared.java(name, looks_first_at=self.draw.uniform(0.0, 20.0))
        else:
            name = f"py-{self.born}"
            self.pythons[name] = self.shared.python(name, batch_seconds=self.draw.choice([0.05, 1.0, 8.0]))

    def kill(self) -> None:
        name = self.draw.choice([*self.javas, *self.pythons])
        self.shared.kill(name)
        self.javas.pop(name, None)
        self.pythons.pop(name, None)

    async def leave(self) -> None:
        name = self.draw.choice([*self.pythons])
        python = self.pythons.pop(name)
        await python.loop.drain(25.0)
        self.shared.kill(name)
        assert name not in self.shared.loads()

    async def step(self) -> None:
        alive = len(self.javas) + len(self.pythons)
        what = self.draw.choice(["join", "kill", "leave", "join"])
        if alive <= 1 or what == "join":
            self.join()
        elif what == "kill":
            self.kill()
        elif self.pythons:
            await self.leave()

    async def rests(self) -> None:
        """Within minutes all is owned by the living, no more than a share by anybody; then nothing moves any more."""
        shared = self.shared
        await shared.until(self.is_even, within=400.0, every=1.0)
        await shared.clock.sleep(60.0)
        moves = self.moves()
        await shared.stays(self.is_even, seconds=120.0, every=1.0)
        assert self.moves() == moves
        assert [java.errors for java in self.javas.values()] == [0] * len(self.javas)

    def is_even(self) -> bool:
        loads = self.shared.loads()
        living = {*self.javas, *self.pythons}
        share = -(-sum(loads.values()) // len(living))
        return set(loads) <= living and max(loads.values()) <= share

    def moves(self) -> Counter[str]:
        counts = Counter({name: python.takes() for name, python in self.pythons.items()})
        counts.update({name: len(java.took) for name, java in self.javas.items()})
        return counts


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_fleet_comes_to_rest_after_each_thing_that_happens(seed: int) -> None:
    async def main() -> None:
        draw = random.Random(seed)
        shared = Shared(seed)
        shared.make(draw.randint(1, 12))
        fleet = Fleet(shared, draw)
        for _ in range(draw.randint(1, 3)):
            fleet.join()
        for _ in range(4):
            await fleet.rests()
            await fleet.step()
        await fleet.rests()
        await shared.end()

    run_virtual(main(), seed=seed, limit_seconds=20_000)


def test_a_limit_of_another_of_ours_which_no_row_tells_costs_seconds_and_not_thirty() -> None:
    async def main() -> None:
        shared = Shared(seed=3)
        shared.make(6)
        first = shared.python("py-1")
        await shared.until(lambda: len(first.held) == 6, within=5.0)
        shared.python("py-2", max_leases=1)
        await shared.until(lambda: "" in shared.loads(), within=20.0)
        await shared.until(lambda: shared.loads() == {"py-1": 5, "py-2": 1}, within=8.0)
        moves = first.takes()
        await shared.stays(lambda: shared.loads() == {"py-1": 5, "py-2": 1}, seconds=120.0)
        assert first.takes() == moves
        await shared.end()

    run_virtual(main(), limit_seconds=20_000)


def test_a_newcomer_that_could_not_take_what_was_let_go_for_it_is_let_go_for_again() -> None:
    """Seed 5020 of the mixed world: one that was cut off when it was to take stayed without a lease for ever."""

    async def main() -> None:
        shared = Shared(seed=3)
        shared.make(2)
        first = shared.python("py-1")
        await shared.until(lambda: len(first.held) == 2, within=5.0)
        shared.store.apply(verbs.announce(shared.row("shard-00"), "py-2-0123456789/1"))
        await shared.until(lambda: "" in shared.loads(), within=20.0)
        await shared.until(lambda: shared.loads() == {"py-1": 2}, within=10.0)
        shared.python("py-3")
        await shared.until(lambda: shared.loads() == {"py-1": 1, "py-3": 1}, within=60.0)
        await shared.end()

    run_virtual(main(), limit_seconds=20_000)
