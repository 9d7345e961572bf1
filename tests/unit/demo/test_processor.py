from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from consumer.demo.journal import Delivery, read_deliveries
from consumer.demo.processor import DELIVERIES, WORKER, StreamOrders, TableOrders
from consumer.processor import ShardContext
from consumer.record import Records
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from lease_store.checkpoint import TRIM_HORIZON


class StoppedClock:
    def monotonic(self) -> float:
        return 7.5


def changed(number: int, *, new: int | None, old: int | None) -> DynamoDBRecord:
    images = {"NewImage": new, "OldImage": old}
    change: dict[str, Any] = {"SequenceNumber": str(number), "Keys": {"order_id": {"S": "order-001"}}, "SizeBytes": 9}
    change |= {name: {"version": {"N": str(value)}} for name, value in images.items() if value is not None}
    return DynamoDBRecord.from_entry({"eventName": "MODIFY", "dynamodb": change})


def deliver(kind: Any, tmp_path: Path, records: list[Any]) -> list[Delivery]:
    path = tmp_path / "deliveries-ada.jsonl"
    processor = kind({DELIVERIES: str(path), WORKER: "ada"}, StoppedClock())
    processor.initialize(
        ShardContext(shard_id="s-1", stream="orders", checkpoint=TRIM_HORIZON, fencing_token=42, worker_id="ada-0f")
    )
    processor.process_records(Records(records, shard_id="s-1"), None)
    return read_deliveries([path])


def test_a_table_change_is_written_down_with_the_version_it_made(tmp_path: Path):
    lines = deliver(
        TableOrders, tmp_path, [changed(11, new=1, old=None), changed(12, new=2, old=1), changed(13, new=None, old=2)]
    )
    assert [(line.sequence_number, line.version) for line in lines] == [("11", 1), ("12", 2), ("13", 3)]
    assert {(line.shard_id, line.key, line.worker, line.tenure, line.at) for line in lines} == {
        ("s-1", "order-001", "ada", 42, 7.5)
    }


def test_a_stream_record_is_written_down_with_its_key_and_version(tmp_path: Path):
    record = KinesisRecord.from_entry(
        {"SequenceNumber": "49", "PartitionKey": "order-007", "Data": json.dumps({"version": 3}).encode()}
    )
    assert deliver(StreamOrders, tmp_path, [record]) == [Delivery("s-1", "order-007", "49", 3, "ada", 42, 7.5)]


def test_a_batch_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: sizes.append(len(content)) or write(fd, content))
    lines = deliver(TableOrders, tmp_path, [changed(number, new=number, old=None) for number in range(1, 300)])
    assert len(lines) == 299
    assert len(sizes) == 1


def test_a_write_that_is_not_whole_fails_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "write", lambda fd, content: len(content) - 1)
    with pytest.raises(OSError, match="took only"):
        deliver(TableOrders, tmp_path, [changed(11, new=1, old=None)])
