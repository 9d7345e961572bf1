"""Start and stop every long-lived object in every way: no task, thread, socket, file or process may be left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from consumer.testing.ministack import Ministack
from consumer.testing.server_thread import StreamServerThread
from tests.integration.stream_sources import SESSION, point_at
from tests.stress.footprint import Footprint, settled
from tests.stress.objects import CONTEXTS, OBJECTS, Make, Surroundings
from tests.stress.stepping import cancelled_at

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ALL = {**OBJECTS, **CONTEXTS}
# Their start or stop waits for nothing on the loop, or for a process that takes its time.
BLOCKING = {"stream server in a process", "stream server in a thread", "signals", "ministack"}
# More awaits than any start or stop has: a test that never comes to the end has failed.
MOST_AWAITS = 400
# From here on it waits for its process, again and again.
ENOUGH_AWAITS = {"the demo's stage": 2}


@pytest.fixture
async def near(ministack: Ministack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Surroundings]:
    with StreamServerThread() as streams:
        streams.create_table("orders")
        streams.create_stream("clicks")
        point_at(monkeypatch, streams)
        # The loop keeps its default executor's threads until it is closed, they are none of the object's: one, now.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await asyncio.get_running_loop().run_in_executor(None, int)
        yield Surroundings(ministack, streams, SESSION, tmp_path)


@pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
async def test_started_and_stopped(near: Surroundings, make: Make) -> None:
    before = Footprint.now()
    thing = make(near)
    await thing.start()
    await thing.stop()
    assert await settled(before) == []


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS.keys())
async def test_stopped_before_it_started_and_twice(near: Surroundings, make: Make) -> None:
    before = Footprint.now()
    await make(near).stop()
    thing = make(near)
    await thing.start()
    await thing.stop()
    await thing.stop()
    assert await settled(before) == []


@pytest.mark.parametrize("name", sorted(ALL.keys() - BLOCKING))
async def test_cancelled_at_each_await_of_its_start(near: Surroundings, name: str) -> None:
    for place in count():
        before = Footprint.now()
        thing = ALL[name](near)
        reached = await cancelled_at(thing.start(), place)
        if not reached:
            await thing.stop()
        assert await settled(before) == [], f"cancelled at await {place}"
        if not reached or place == ENOUGH_AWAITS.get(name):
            return
        assert place < MOST_AWAITS


@pytest.mark.parametrize("name", sorted(ALL.keys() - BLOCKING))
async def test_cancelled_at_each_await_of_its_stop(near: Surroundings, name: str) -> None:
    for place in count():
        before = Footprint.now()
        thing = ALL[name](near)
        await thing.start()
        reached = await cancelled_at(thing.stop(), place)
        assert await settled(before) == [], f"cancelled at await {place}"
        if not reached or place == ENOUGH_AWAITS.get(name):
            return
        assert place < MOST_AWAITS
