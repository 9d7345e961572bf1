"""User code of ``leasehold run`` in the benchmarks: plain ``def`` methods, one class for each way to touch records."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from consumer import RecordProcessor
from tests.benchmarks.contenders.counting import (
    Slots,
    from_attribute,
    from_payload,
    from_sequence_number,
    slot_of,
)

__all__ = ["Images", "Payload", "Untouched"]

_SLOTS = Slots.from_environment()
_sequence_number, _payload = attrgetter("sequence_number"), attrgetter("data")


class Untouched(RecordProcessor):
    """Looks at nothing but the sequence numbers."""

    slot = 0

    def initialize(self, shard: Any) -> None:
        self.slot = slot_of(shard.shard_id)

    def process_records(self, records: Any, checkpointer: Any) -> None:
        _SLOTS.hand_over(self.slot, list(map(_sequence_number, records)), from_sequence_number)


class Images(Untouched):
    """Reads every new image, decoded whole."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        _SLOTS.hand_over(self.slot, [record.new_image["n"] for record in records], from_attribute)


class Payload(Untouched):
    """Takes every payload as bytes."""

    def process_records(self, records: Any, checkpointer: Any) -> None:
        _SLOTS.hand_over(self.slot, list(map(_payload, records)), from_payload)
