"""User code of the benchmarks, run by real ``leasehold run`` processes: it notes what it is given, and when.

Stands on nothing but the library, since workers load it by its bare name from their working directory.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from consumer import RecordProcessor
from consumer.clock import SystemClock

__all__ = ["AlwaysRaises", "Journalling", "NeverEnds", "NeverEndsOnTheLoop", "Sleeps"]

# A worker whose environment names no journal is none of the benchmarks': it fails before it starts, and says so.
_JOURNAL = os.open(os.environ["BENCHMARK_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
_CLOCK = SystemClock()


def _note(*lines: tuple[Any, ...]) -> None:
    """``[seconds by the machine's monotonic clock, what, shard, number]`` a line, all lines by one write."""
    now = _CLOCK.monotonic()
    os.write(_JOURNAL, b"".join(json.dumps([now, *line]).encode() + b"\n" for line in lines))


class Journalling(RecordProcessor):
    """Notes every record (its attribute ``n``) and every other callback."""

    shard_id = ""

    def initialize(self, shard: Any) -> None:
        self.shard_id = shard.shard_id
        _note(("initialize", self.shard_id, shard.fencing_token))

    def process_records(self, records: Any, checkpointer: Any) -> Any:
        _note(*(("record", self.shard_id, int(record.new_image["n"])) for record in records))

    def lease_lost(self) -> None:
        _note(("lease_lost", self.shard_id, None))

    def shard_ended(self, checkpointer: Any) -> Any:
        _note(("shard_ended", self.shard_id, None))
        return super().shard_ended(checkpointer)

    def shutdown_requested(self, checkpointer: Any) -> None:
        _note(("shutdown_requested", self.shard_id, None))


class Sleeps(Journalling):
    """Sleeps in its thread for as many seconds as the record's attribute ``sleep`` says."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        super().process_records(records, checkpointer)
        for record in records:
            time.sleep(float(record.new_image.get("sleep", 0)))
        _note(("returned", self.shard_id, len(records)))


class NeverEnds(Journalling):
    """Does not return from the first batch, in a thread."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        super().process_records(records, checkpointer)
        while True:
            time.sleep(60)


class NeverEndsOnTheLoop(Journalling):
    """Does not return from the first batch, and blocks the worker's own event loop with it."""

    async def process_records(self, records: Any, checkpointer: Any) -> None:
        super().process_records(records, checkpointer)
        while True:
            time.sleep(60)  # noqa: ASYNC251 - a user's mistake, made on purpose


class AlwaysRaises(Journalling):
    """Raises in every batch."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        super().process_records(records, checkpointer)
        raise RuntimeError("This processor raises in every batch, on purpose.")
