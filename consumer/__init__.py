"""Leasehold: a distributed consumer for DynamoDB Streams and Kinesis.

The names that users import. They are loaded on first use, so that ``leasehold --help`` waits for no AWS library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lease_store.lazy_names import lazy_names

if TYPE_CHECKING:
    from consumer.clock import Clock, SystemClock
    from consumer.config import InitialPosition, WorkerConfig
    from consumer.delivery.attempts import Retry
    from consumer.errors import CheckpointError, ConfigError, LeaseholdError, LeaseLost
    from consumer.hooks import Fact, Hook
    from consumer.outcomes import BatchFailures, RetryAfter
    from consumer.own_writes import OwnWrites
    from consumer.processor import Checkpointer, PreparedCheckpoint, RecordProcessor, ShardContext
    from consumer.record import Record, Records, ViewType
    from consumer.worker import Outcome, Worker

__all__ = [
    "BatchFailures",
    "CheckpointError",
    "Checkpointer",
    "Clock",
    "ConfigError",
    "Fact",
    "Hook",
    "InitialPosition",
    "LeaseLost",
    "LeaseholdError",
    "Outcome",
    "OwnWrites",
    "PreparedCheckpoint",
    "Record",
    "RecordProcessor",
    "Records",
    "Retry",
    "RetryAfter",
    "ShardContext",
    "SystemClock",
    "ViewType",
    "Worker",
    "WorkerConfig",
]

_HOMES: Final = {
    "BatchFailures": "outcomes",
    "CheckpointError": "errors",
    "Checkpointer": "processor",
    "Clock": "clock",
    "ConfigError": "errors",
    "Fact": "hooks",
    "Hook": "hooks",
    "InitialPosition": "config",
    "LeaseLost": "errors",
    "LeaseholdError": "errors",
    "Outcome": "worker",
    "OwnWrites": "own_writes",
    "PreparedCheckpoint": "processor",
    "Record": "record",
    "RecordProcessor": "processor",
    "Records": "record",
    "Retry": "delivery.attempts",
    "RetryAfter": "outcomes",
    "ShardContext": "processor",
    "SystemClock": "clock",
    "ViewType": "record",
    "Worker": "worker",
    "WorkerConfig": "config",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
