"""Everything to test a consumer with, without an account: a stream server, an in-memory source, virtual time, faults.

Names are imported on first use, so that a test which needs only the in-memory source does not load an HTTP server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.testing.faults import Call, Fault, FaultKind, FaultPlan, Mangling
    from consumer.testing.shard_log import ShardLog
    from consumer.testing.stream_rules import Staleness, StreamOptions
    from consumer.testing.stream_server import StreamServer

__all__ = [
    "Call",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Mangling",
    "ShardLog",
    "Staleness",
    "StreamOptions",
    "StreamServer",
]

_HOMES = {
    "Call": "faults",
    "Fault": "faults",
    "FaultKind": "faults",
    "FaultPlan": "faults",
    "Mangling": "faults",
    "ShardLog": "shard_log",
    "Staleness": "stream_rules",
    "StreamOptions": "stream_rules",
    "StreamServer": "stream_server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"consumer.testing has no {name!r}; it has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"consumer.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
