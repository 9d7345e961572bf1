"""A processor that uses every callback: running totals by customer, kept per shard and written when a batch is full."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from consumer import RecordProcessor
from consumer.processor import Checkpointer, ShardContext
from consumer.record import Records

__all__ = ["Totals"]

FOLDER = Path("totals")
FLUSH_EVERY = 100


class Totals(RecordProcessor):
    """Run it with ``--checkpointing manual``: a place is stored only once what lies below it is on disk."""

    def initialize(self, shard: ShardContext) -> None:
        """A tenure begins, here or after another worker's: read back what was written for this shard."""
        FOLDER.mkdir(exist_ok=True)
        self.path = FOLDER / f"{shard.shard_id}.json"
        self.totals: Counter[str] = Counter(json.loads(self.path.read_text()) if self.path.exists() else {})
        self.unsaved = 0

    def process_records(self, records: Records[Any], checkpointer: Checkpointer) -> None:
        """What raises here is called again with the same records: so nothing is changed before all are understood."""
        batch = Counter(record.new_image["customer"] for record in records if record.new_image)
        self.totals += batch
        self.unsaved += len(records)
        if self.unsaved >= FLUSH_EVERY:
            self.save(checkpointer)

    def shutdown_requested(self, checkpointer: Checkpointer) -> None:
        """The lease leaves for another worker, or this one stops: the last chance to keep what is in hand."""
        self.save(checkpointer)

    def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Everything was delivered. The children start once this has checkpointed."""
        self.save(checkpointer)

    def lease_lost(self) -> None:
        """Another worker goes on from the last checkpoint: drop what was not saved, it is counted there."""
        self.totals.clear()
        self.unsaved = 0

    def save(self, checkpointer: Checkpointer) -> None:
        """First the totals, then the place: a crash in between repeats records, and never loses one."""
        self.path.write_text(json.dumps(self.totals))
        checkpointer.checkpoint()
        self.unsaved = 0
