"""Everything to test a consumer with, without an account: a stream server, an in-memory source, virtual time, faults.

``StreamServer`` speaks DynamoDB Streams and Kinesis to unmodified AWS clients; ``StreamServerThread`` and
``StreamServerProcess`` run it beside blocking code; ``MemoryRecordSource`` reads the same ``ShardLog`` without sockets;
``Fault`` and ``FaultPlan`` make either go wrong, ``Proxy`` any other local server; ``run_virtual`` lets a day pass in a
second. pytest fixtures are in ``consumer.testing.pytest_plugin``. Names are imported on first use, so that what needs
only the log does not load an HTTP server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lease_store.lazy_names import lazy_names

if TYPE_CHECKING:
    from consumer.testing.faults import Call, Fault, FaultKind, FaultPlan, Mangling
    from consumer.testing.memory_dead_letters import MemoryDeadLetters
    from consumer.testing.memory_source import MemoryRecordSource
    from consumer.testing.ministack import Ministack
    from consumer.testing.proxy import Proxy
    from consumer.testing.server_process import StreamServerProcess
    from consumer.testing.server_thread import StreamServerThread
    from consumer.testing.shard_log import ShardLog
    from consumer.testing.stream_rules import Staleness, StreamOptions
    from consumer.testing.stream_server import StreamServer
    from consumer.testing.virtual_time import VirtualClock, run_virtual

__all__ = [
    "Call",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Mangling",
    "MemoryDeadLetters",
    "MemoryRecordSource",
    "Ministack",
    "Proxy",
    "ShardLog",
    "Staleness",
    "StreamOptions",
    "StreamServer",
    "StreamServerProcess",
    "StreamServerThread",
    "VirtualClock",
    "run_virtual",
]

_HOMES: Final = {
    "Call": "faults",
    "Fault": "faults",
    "FaultKind": "faults",
    "FaultPlan": "faults",
    "Mangling": "faults",
    "MemoryDeadLetters": "memory_dead_letters",
    "MemoryRecordSource": "memory_source",
    "Ministack": "ministack",
    "Proxy": "proxy",
    "ShardLog": "shard_log",
    "Staleness": "stream_rules",
    "StreamOptions": "stream_rules",
    "StreamServer": "stream_server",
    "StreamServerProcess": "server_process",
    "StreamServerThread": "server_thread",
    "VirtualClock": "virtual_time",
    "run_virtual": "virtual_time",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
