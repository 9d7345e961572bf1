"""A batch is a sequence of its records, and looks like one to the last detail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumer.record import Records
from consumer.streams.kinesis_record import KinesisRecord

THREE = [KinesisRecord.from_entry({"SequenceNumber": str(number), "Data": b""}) for number in range(3)]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_batch_is_its_records_in_order(kind: type) -> None:
    batch = Records(kind(THREE), shard_id="s-1", millis_behind_latest=7)
    assert isinstance(batch, Sequence)
    assert [*batch] == [batch[0], batch[1], batch[2]] == THREE
    assert [*reversed(batch)] == THREE[::-1]
    assert [*batch[1:]] == THREE[1:]
    assert (len(batch), batch[-1], batch.index(THREE[1]), THREE[2] in batch) == (3, THREE[2], 1, True)
    assert [record for _ in range(2) for record in batch] == THREE * 2, "a batch can be gone through twice"


def test_a_batch_shows_no_record() -> None:
    assert repr(Records(THREE, shard_id="s-1")) == "<3 records of s-1>"
    assert not Records([], shard_id="s-1")
