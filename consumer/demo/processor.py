"""The demo's record processors: write down every record before saying that it is done.

Given to real ``leasehold run`` processes, with the file's path and the worker's name in the environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from consumer.clock import Clock, SystemClock
from consumer.demo.journal import Appender, Delivery
from consumer.processor import Checkpointer, RecordProcessor, ShardContext
from consumer.record import Records

__all__ = ["DELIVERIES", "WORKER", "StreamOrders", "TableOrders"]

DELIVERIES: Final = "LEASEHOLD_DEMO_DELIVERIES"
WORKER: Final = "LEASEHOLD_DEMO_WORKER"


class _Recording(RecordProcessor):
    """One line a record, one unbuffered write a batch."""

    def __init__(self, environment: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self._path = Path(environment[DELIVERIES])
        self._worker = environment[WORKER]
        self._clock = clock or SystemClock()
        self._tenure = 0

    def initialize(self, shard: ShardContext) -> None:
        self._tenure = shard.fencing_token

    def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> None:
        at = self._clock.monotonic()
        lines = []
        for record in records:
            key, version = self._change(record)
            number = record.sequence_number
            lines.append(Delivery(records.shard_id, key, number, version, self._worker, self._tenure, at))
        # Opened for each batch: nothing to close whichever way a tenure ends.
        with Appender(self._path) as file:
            file.append(lines)

    def _change(self, record: Any) -> tuple[str, int]:
        """The key and the version of what a record tells."""
        raise TypeError(f"{type(self).__name__} does not say what a record means.")


class TableOrders(_Recording):
    """For the stream of the demo's table."""

    requires = frozenset({"new_image", "old_image"})

    def _change(self, record: Any) -> tuple[str, int]:
        # A removed item has no version any more: the removal itself is the change after its last one.
        image = record.new_image
        version = int(record.old_image["version"]) + 1 if image is None else int(image["version"])
        return str(record.keys["order_id"]), version


class StreamOrders(_Recording):
    """For the demo's Kinesis stream."""

    def _change(self, record: Any) -> tuple[str, int]:
        return record.partition_key, int(json.loads(record.data)["version"])
