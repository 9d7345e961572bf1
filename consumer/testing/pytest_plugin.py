"""pytest fixtures: put ``pytest_plugins = ["consumer.testing.pytest_plugin"]`` into your conftest.py.

With a server, for anything that talks AWS's protocol (the fixture works in plain and in asyncio tests)::

    def test_orders(stream_server):
        arn = stream_server.create_table("orders")
        stream_server.put_item("orders", new_image={"pk": "a", "total": 3})
        client = boto3.client("dynamodbstreams", endpoint_url=stream_server.endpoint_url, ...)

In memory, for a worker or a source in the same process::

    async def test_orders(shard_log, memory_source):
        shard_log.create_table("orders")
        source = memory_source("dynamodb:orders")
        shard_log.put_item("orders", new_image={"pk": "a", "total": 3})
        shard_log.stream("orders").lineage.rotate()

Override ``stream_clock`` or ``stream_options`` in your own tests to change the time or how streams behave.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from consumer.clock import Clock, SystemClock
from consumer.testing.faults import FaultPlan
from consumer.testing.memory_source import MemoryRecordSource
from consumer.testing.server_thread import StreamServerThread
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import StreamOptions

__all__ = ["memory_source", "shard_log", "stream_clock", "stream_faults", "stream_options", "stream_server"]


@pytest.fixture
def stream_clock() -> Clock:
    """The clock of the other fixtures: the machine's, unless you override this one."""
    return SystemClock()


@pytest.fixture
def stream_options() -> StreamOptions:
    """How streams of the other fixtures behave that are made without options of their own."""
    return StreamOptions()


@pytest.fixture
def stream_server(stream_clock: Clock, stream_options: StreamOptions) -> Iterator[StreamServerThread]:
    """A stream server of this test's own, in a thread, with a log of its own."""
    with StreamServerThread(clock=stream_clock, options=stream_options) as server:
        yield server


@pytest.fixture
def shard_log(stream_clock: Clock, stream_options: StreamOptions) -> ShardLog:
    """An empty log for ``memory_source``."""
    return ShardLog(stream_clock.wall, options=stream_options)


@pytest.fixture
def stream_faults(stream_clock: Clock) -> FaultPlan:
    """What goes wrong in the sources of ``memory_source``, and their calls."""
    return FaultPlan(random.Random(0), now=stream_clock.monotonic)


@pytest.fixture
def memory_source(
    shard_log: ShardLog, stream_clock: Clock, stream_faults: FaultPlan
) -> Callable[[str], MemoryRecordSource]:
    """Makes sources over ``shard_log``: ``memory_source("dynamodb:orders")``."""

    def make(name: str) -> MemoryRecordSource:
        return MemoryRecordSource(shard_log, name, clock=stream_clock, faults=stream_faults)

    return make
