"""A shard stopped, lost or abandoned at each step of its life, policy by policy, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Final

import pytest

from tests.stress.shard_life import Act, ShardLife
from tests.unit.shards.shard_fakes import Stage, virtual

EACH: Final = 23  # of so many steps one, each policy and act from another one on
MOST_STEPS: Final = 3_000
POLICIES: Final[dict[str, dict[str, Any]]] = {
    "named": {},
    "bisect": {"plain": True, "bisect": True},
    "lanes": {"lanes": 3},
    "window": {"batch_window_seconds": 2.0, "batch_size": 10},
    "time limit": {"batch_timeout_seconds": 1.0, "stubborn": True, "lanes": 2},
    "hold_key": {"after_dead_letter": "hold_key", "lanes": 2},
    "pace": {"max_records_per_second": 5.0, "lanes": 2},
    "manual": {"checkpointing": "manual", "lanes": 2},
}


def let_go_and_taken_back(stage: Stage) -> None:
    """A hand-off is asked for, and a moment later nobody wants it any more."""
    stage.tenure.let_go_answers.append(False)
    stage.tenure.ask("hand_off")

    def take_back() -> None:
        if not stage.ended.done() and stage.consumer._standing.must_stop():
            stage.tenure.ask(None)

    asyncio.get_running_loop().call_later(0.3, take_back)


ACTS: Final[dict[str, Act]] = {
    "abandoned": lambda stage: stage.consumer.abandon(),
    "lost": lambda stage: stage.tenure.ask("lost"),
    "handed off": lambda stage: stage.tenure.ask("hand_off"),
    "taken back": let_go_and_taken_back,
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_whatever_stops_a_shard_leaves_nothing_running_and_nothing_passed(policy: str, act: str) -> None:
    begin = (4 * list(POLICIES).index(policy) + list(ACTS).index(act)) % EACH
    for place in count(begin, EACH):
        life = ShardLife(**POLICIES[policy])
        virtual(lambda life=life, place=place: life.live(ACTS[act], place))
        if not life.was_reached:
            break
    assert 60 < place < MOST_STEPS
