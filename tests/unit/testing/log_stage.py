"""What tests of the shard log stand on: a clock that moves when told, and readers of whole shards."""

from __future__ import annotations

import pytest

from consumer.testing import iterators
from consumer.testing.log_shard import LogRecord
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_log import StreamLog

__all__ = ["DAY", "HOUR", "HandClock", "drain", "follow", "numbers", "put", "refusal", "topological"]

DAY = 24 * 3600.0
HOUR = 3600.0


class HandClock:
    """Wall time that moves when told."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def put(log: ShardLog, key: str, n: int = 0, table: str = "orders") -> str:
    return log.put_item(table, new_image={"pk": key, "n": n})


def drain(log: StreamLog, shard_id: str, kind: str = "TRIM_HORIZON", limit: int | None = None) -> list[LogRecord]:
    """Everything in a shard from a position on: to its end, or to the tip of an open one."""
    return follow(log, log.iterator(shard_id, kind), limit)  # type: ignore[arg-type]


def follow(log: StreamLog, token: str | None, limit: int | None = None) -> list[LogRecord]:
    found: list[LogRecord] = []
    while token is not None:
        page = log.read(iterators.decode(token), limit)
        found += page.records
        if not page.records:
            break
        token = page.next_iterator
    return found


def numbers(records: list[LogRecord]) -> list[str]:
    return [str(record.sequence) for record in records]


def refusal(code: str) -> object:
    return pytest.raises(ServiceError, match=f"^{code}:")


def topological(stream: StreamLog) -> list[str]:
    """Every shard after its parents."""
    order: list[str] = []
    waiting = {shard.id: set(shard.parents) for shard in stream.listing()}
    while waiting:
        ready = [shard for shard, parents in waiting.items() if not parents & waiting.keys()]
        assert ready, "the lineage has a cycle"
        order += ready
        for shard in ready:
            del waiting[shard]
    return order
