"""What goes on beside a test ends whole: no step is cut off, and no error of one is lost."""

from __future__ import annotations

import asyncio

import pytest

from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.integration.going_on import going_on


def test_steps_come_until_the_exit_which_brings_the_last_to_its_end() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def step(place: int) -> None:
        begun.append(place)
        await asyncio.sleep(1.0)
        ended.append(place)

    async def main() -> None:
        async with going_on(step, 2.0, VirtualClock()):
            await asyncio.sleep(6.5)
        assert asyncio.get_running_loop().time() == 7.0, "no pause after the last"

    run_virtual(main())
    assert begun == ended == [0, 1, 2]


def test_what_a_step_raises_is_raised_at_the_exit() -> None:
    def step(place: int) -> None:
        raise OSError("the stream is gone")

    async def main() -> None:
        async with going_on(step, 2.0, VirtualClock()):
            await asyncio.sleep(10.0)

    with pytest.raises(OSError, match="gone"):
        run_virtual(main())
