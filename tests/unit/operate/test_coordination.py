"""What a worker knows of its place among the others is the last word of each fact."""

from __future__ import annotations

from consumer import hooks
from consumer.clock import SystemClock
from consumer.operate.coordination import Coordination, CoordinationHook


class SetClock(SystemClock):
    """A monotonic clock that stands until it is set."""

    now = 50.0

    def monotonic(self) -> float:
        return self.now


def test_the_last_word_of_each_fact_stands():
    clock = SetClock()
    hook = CoordinationHook(clock)
    assert hook.now() == Coordination()
    for fact in (
        hooks.ModeChanged("", "peer", None, "no row of a KCL"),
        hooks.WorkersSeen("", 2, 0),
        hooks.Planned("", 3),
        hooks.ModeChanged("", "leader", "peer", "row 'Leader' of java-1"),
        hooks.LockSeen("", "java-1", is_mine=False),
        hooks.WorkersSeen("", 2, 1),
        hooks.CheckpointStored("s", "7"),
    ):
        hook(fact)
    clock.now += 12.0
    assert hook.now() == Coordination(
        mode="leader",
        because="row 'Leader' of java-1",
        lock_owner="java-1",
        is_leader=False,
        workers=2,
        kcl_workers=1,
        planned_seconds_ago=12.0,
    )


def test_a_lock_that_is_won_and_lost_is_told():
    hook = CoordinationHook(SetClock())
    hook(hooks.LockSeen("", "me", is_mine=True))
    assert hook.now().is_leader
    hook(hooks.LockSeen("", None, is_mine=False))
    assert (hook.now().is_leader, hook.now().lock_owner) == (False, None)
