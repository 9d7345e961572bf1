"""The example's own logic, on records as the stream carries them."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from consumer.record import Records
from consumer.streams import DynamoDBRecord
from tests.house.tree import ROOT


@pytest.fixture(scope="module")
def orders() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_orders", ROOT / "examples/orders_audit/orders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(
    name: str, *, old: dict[str, Any] | None = None, new: dict[str, Any] | None = None, **more: Any
) -> DynamoDBRecord:
    images = {"OldImage": old, "NewImage": new}
    change = {"Keys": {"id": {"S": "o-1"}}, "SequenceNumber": "100", "SizeBytes": 9}
    change |= {key: {"id": {"S": "o-1"}} | image for key, image in images.items() if image is not None}
    return DynamoDBRecord.from_entry({"eventID": "e", "eventName": name, "dynamodb": change, **more})


BY_TTL = {"userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (record("INSERT", new={"state": {"S": "new"}}), "o-1 INSERT: state - -> new"),
        (
            record(
                "MODIFY", old={"state": {"S": "new"}, "n": {"N": "1"}}, new={"state": {"S": "paid"}, "n": {"N": "1"}}
            ),
            "o-1 MODIFY: state new -> paid",
        ),
        (record("REMOVE", old={"n": {"N": "1"}}), "o-1 REMOVE: n 1 -> -"),
        (record("REMOVE", old={"n": {"N": "1"}}, **BY_TTL), "o-1 REMOVE by its time to live: n 1 -> -"),
    ],
)
def test_a_change_is_one_line_with_what_it_changed(orders: ModuleType, change: DynamoDBRecord, line: str):
    assert orders.describe(change) == line


def test_a_batch_is_a_line_a_record(orders: ModuleType, capsys: pytest.CaptureFixture[str]):
    batch = Records([record("INSERT", new={"n": {"N": "1"}}), record("REMOVE", old={"n": {"N": "1"}})], shard_id="s")
    orders.Orders().process_records(batch, None)
    assert capsys.readouterr().out == "o-1 INSERT: n - -> 1\no-1 REMOVE: n 1 -> -\n"
