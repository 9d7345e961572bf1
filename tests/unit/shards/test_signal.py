"""Waiting for a condition: no lost wake-up, no waiter left behind."""

from __future__ import annotations

import asyncio

import pytest

from consumer.shards.signal import Signal
from consumer.testing.virtual_time import VirtualClock, run_virtual


@pytest.mark.parametrize("seed", range(20))
def test_many_waiters_each_see_their_own_condition(seed):
    async def main():
        signal, state = Signal(VirtualClock()), [0]
        waiters = [asyncio.create_task(signal.until(lambda n=n: state[0] >= n)) for n in range(20)]
        for _ in range(20):
            await asyncio.sleep(0)
            state[0] += 1
            signal.notify()
        assert await asyncio.gather(*waiters) == [True] * 20

    run_virtual(main(), seed=seed)


def test_a_wait_ends_in_time_and_says_whether_its_condition_holds():
    async def main():
        signal = Signal(VirtualClock())
        for _ in range(5):
            assert not await signal.until(lambda: False, within_seconds=2.0)
        assert asyncio.get_running_loop().time() == 10.0
        assert await signal.until(lambda: True, within_seconds=0.0)
        task = asyncio.create_task(signal.until(lambda: False))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        assert not signal._waiters, "shards live for days: a waiter that gave up must not stay"

    run_virtual(main())
