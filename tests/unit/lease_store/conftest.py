"""A store that talks to a scripted server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.lease_store.scripted_server import Bench, scripted_server, store_at


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with scripted_server() as server:
        store = store_at(server.url)
        async with store.open():
            yield Bench(server, store)
