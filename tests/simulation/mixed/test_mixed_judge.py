"""The one thing that a Java leader can do to two workers of ours at once: nobody else, and in no other way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from lease_store.writes import Write
from tests.simulation.kcl import requests
from tests.simulation.kcl.rows import lease_in
from tests.simulation.leases.draw import CALM_WORK
from tests.simulation.mixed.draw import QUICK_TIMES, drawn
from tests.simulation.mixed.world import MixedWorld
from tests.simulation.network import Calm

pytestmark = pytest.mark.usefixtures("nothing_logged")


@pytest.mark.parametrize("is_next", [True, False], ids=["to whom it was to go", "to a third, who sees it and waits"])
def test_two_of_ours_trust_one_lease_only_where_a_java_leader_finishes_the_hand_off_of_one_to_the_other(
    is_next: bool,
) -> None:
    """That it is caught everywhere else, the mutant "begins at once what was forced" shows."""
    both, begun_at_all = [], []

    async def scenario(world: MixedWorld) -> None:
        java = world.add_java()
        python = [world.add_worker() for _ in range(3)]
        await asyncio.sleep(30.0)
        owner = next(each for each in python if each.held_keys)
        other, third = (each for each in python if each is not owner)
        key = sorted(owner.held_keys)[0]
        held = owner.loop.leases.held[key]
        renewed_at = held.renewed_at
        for _ in range(200):
            if held.renewed_at > renewed_at:
                break
            await asyncio.sleep(0.01)
        world.freeze(owner, 3.0)
        receiver = other if is_next else third
        _send(world, java, requests.start_hand_off, key, other)
        _send(world, java, requests.assign, key, receiver)
        until = world.loop.time() + 5.0
        while world.loop.time() < until:
            begun = receiver.loop.leases.held.get(key)
            begun_at_all.append(begun is not None)
            both.append(owner.trusts(held) and begun is not None and receiver.trusts(begun))
            await asyncio.sleep(0.01)

    world = _played(scenario)
    assert any(begun_at_all)
    assert any(both) == is_next
    assert world.judge.violations == []


def _send(world: MixedWorld, writer: Any, request: Any, key: str, to: Any) -> None:
    item = world.table.get(key)
    assert item is not None
    write: Write = request(lease_in(item), to.name).at(item)
    world.table.write_as(writer.name, write)


def _played(scenario: Any) -> MixedWorld:
    """A fleet in which nothing happens but what the scenario does, judged as one in which it may."""
    mild = {
        "faults": "mild",
        "failover": 2.0,
        "times": QUICK_TIMES,
        "network": Calm(usual_seconds=0.03),
        "work": CALM_WORK,
        "keys": 6,
        "protocol": "3x",
        "coordination": "auto",
    }
    world = MixedWorld(1, replace(drawn(1), **mild))
    world.play(scenario(world))
    return world
