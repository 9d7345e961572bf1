"""An audit of a table's orders: one line for each change, with what it changed."""

from __future__ import annotations

from typing import Any

from consumer import RecordProcessor
from consumer.processor import Checkpointer
from consumer.record import Records
from consumer.streams import DynamoDBRecord

__all__ = ["Orders", "describe"]


class Orders(RecordProcessor):
    """Prints every change; made once for each tenure of each shard."""

    # `leasehold run` refuses a stream whose view type lacks one of these, before it reads anything.
    requires = {"new_image", "old_image"}  # noqa: RUF012 - read, never changed

    def process_records(self, records: Records[DynamoDBRecord], checkpointer: Checkpointer) -> None:
        # When this returns, the batch is done: its checkpoint follows in a second. If it raises, nothing is skipped.
        for record in records:
            print(describe(record), flush=True)


def describe(record: DynamoDBRecord) -> str:
    """``o-1 MODIFY: state new -> paid``; numbers are Decimals, keys never change."""
    before: dict[str, Any] = dict(record.old_image or {})
    after: dict[str, Any] = dict(record.new_image or {})
    key = " ".join(str(value) for value in record.keys.values())
    changes = [
        f"{name} {before.get(name, '-')} -> {after.get(name, '-')}"
        for name in sorted(before.keys() | after.keys())
        if name not in record.keys and before.get(name) != after.get(name)
    ]
    by = " by its time to live" if record.is_ttl_delete else ""
    return f"{key} {record.event_name}{by}: {', '.join(changes)}"
