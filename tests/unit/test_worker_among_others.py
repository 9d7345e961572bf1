"""A worker tells by whose rules it works, who leads, and since when: in its status, its facts and its log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from consumer.hooks import Fact, LockSeen, ModeChanged
from consumer.testing.virtual_time import VirtualClock, run_virtual
from lease_store.coordination import LeaderLock, coordination_to_item
from tests.unit.worker_stage import Stage


def test_the_lock_of_a_kcl_is_noticed_followed_and_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leasehold")
    facts = run_virtual(_followed_and_taken_over(), limit_seconds=600)
    assert [(fact.previous, fact.mode) for fact in facts if isinstance(fact, ModeChanged)] == [
        (None, "peer"),
        ("peer", "leader"),
    ]
    assert [fact.is_mine for fact in facts if isinstance(fact, LockSeen)][:2] == [False, True]
    (warning,) = [record.getMessage() for record in caplog.records if "goes from mode peer" in record.getMessage()]
    assert "since its row 'Leader' names 'java-1' as leader. From now on" in warning


async def _followed_and_taken_over() -> list[Fact]:
    stage = Stage(VirtualClock())
    async with stage.worker(stage.reader) as worker:
        run = asyncio.ensure_future(worker.run())
        await stage.seen.wait()
        await stage.clock.sleep(2.0)
        assert worker.status().coordination.mode == "peer"
        lock = LeaderLock(owner="java-1", version="v1", duration_seconds=12.0)
        stage.table.put_item(coordination_to_item(lock))
        await stage.clock.sleep(4.0)
        now = worker.status().coordination
        assert (now.mode, now.lock_owner, now.is_leader) == ("leader", "java-1", False)
        assert "'Leader'" in now.because
        await stage.clock.sleep(20.0)
        now = worker.status().coordination
        assert now.is_leader
        assert now.lock_owner == worker.worker_id
        assert now.planned_seconds_ago is not None
        assert now.planned_seconds_ago < 10.0
        worker.stop()
        await run
    return stage.facts
