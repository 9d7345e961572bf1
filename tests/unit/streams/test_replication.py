"""Attributes of global tables of version 2017.11.29: out of the images, never lost, and no change of an item."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.replication import Replication

ITEM = {"pk": {"S": "a"}, "n": {"N": "1"}}
LAID_ON = {
    "aws:rep:deleting": {"BOOL": False},
    "aws:rep:updateregion": {"S": "eu-west-1"},
    "aws:rep:updatetime": {"N": "1602518560.314001"},
}
TOLD = Replication("eu-west-1", Decimal("1602518560.314001"), False)


def changed(old: dict[str, Any] | None, new: dict[str, Any] | None) -> DynamoDBRecord:
    name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    return DynamoDBRecord.from_entry(
        {"eventName": name, "dynamodb": {"SequenceNumber": "1", "OldImage": old, "NewImage": new}}
    )


def test_images_are_without_and_raw_is_with_them() -> None:
    record = changed(ITEM | LAID_ON, ITEM | LAID_ON | {"n": {"N": "2"}})
    assert record.old_image == {"pk": "a", "n": 1}
    assert record.new_image == {"pk": "a", "n": 2}
    assert record.replication == TOLD
    assert record.raw["dynamodb"]["NewImage"] == ITEM | LAID_ON | {"n": {"N": "2"}}
    assert record.changed_attributes() == {"n"}
    assert [change.path for change in record.diff()] == [("n",)]


def test_the_second_record_of_a_write_changes_nothing() -> None:
    # AWS: "Two Streams records are generated. ... The second record contains the aws:rep:* attributes."
    first, second = changed(None, ITEM), changed(ITEM, ITEM | LAID_ON)
    assert first.changed_attributes() == {"pk", "n"}
    assert first.replication is None
    assert (second.changed_attributes(), second.diff()) == (frozenset(), ())
    assert second.replication == TOLD


def test_a_replica_deletes_in_two_steps_and_the_first_changes_nothing() -> None:
    flagged = ITEM | LAID_ON | {"aws:rep:deleting": {"BOOL": True}}
    first, second = changed(ITEM | LAID_ON, flagged), changed(flagged, None)
    assert first.changed_attributes() == frozenset()
    assert first.replication is not None
    assert first.replication.deleting
    assert second.changed_attributes() == {"pk", "n"}
    assert second.replication == first.replication


@pytest.mark.parametrize("name", ["aws:rep:deleting", "aws:rep:updateregion"])
def test_a_name_that_stands_alone_is_the_users_own(name: str) -> None:
    record = changed(ITEM, ITEM | {name: LAID_ON[name]})
    assert record.replication is None
    assert record.new_image is not None
    assert name in record.new_image
    assert record.changed_attributes() == {name}


def test_what_is_not_of_its_type_is_not_told_and_hides_nothing() -> None:
    odd = {name: {"S": "odd"} for name in LAID_ON}
    assert changed(None, ITEM | odd).replication == Replication("odd", None, None)
    assert changed(None, ITEM | {"aws:rep:updatetime": {"N": "7"}}).replication == Replication(None, Decimal(7), None)
    assert changed(None, ITEM | {"aws:rep:updateregion": {"N": "7"}, "aws:rep:updatetime": {"N": "7"}}).replication == (
        Replication(None, Decimal(7), None)
    )


def test_an_item_of_any_other_table_has_none() -> None:
    assert changed(ITEM, ITEM).replication is None
    assert changed(None, None).replication is None
