"""What delivery needs of a record: its key, what is noted on it, and that neither costs or shows anything."""

from __future__ import annotations

import base64
import gc
import json
import pickle
import random
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.failures import Failure
from consumer.record import Record
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.wire import decode_dynamodb, decode_kinesis

SECRET = "do-not-log-me"
ENTRIES: list[tuple[Any, dict[str, Any]]] = [
    (DynamoDBRecord, {"dynamodb": {"SequenceNumber": "1", "Keys": {"pk": {"S": SECRET}}}}),
    (KinesisRecord, {"SequenceNumber": "1", "Data": b"", "PartitionKey": SECRET}),
]


def keyed(text: bytes) -> DynamoDBRecord:
    (record,) = decode_dynamodb(b'{"Records":[{"dynamodb":{"SequenceNumber":"1","Keys":' + text + b"}}]}").records
    assert isinstance(record, DynamoDBRecord)
    return record


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_a_record_that_fails_says_so_until_it_is_cleared(kind: Any, entry: dict[str, Any]) -> None:
    record = kind.from_entry(entry)
    assert isinstance(record, Record)
    assert record.failure is None
    record.fail(ValueError(SECRET))
    assert record.failure == Failure("ValueError", SECRET)
    record.fail("the second word counts")
    assert record.failure == Failure("reason", "the second word counts")
    assert pickle.loads(pickle.dumps(record)).failure == record.failure, "a pool of processes sends records back"
    record.clear_failure()
    assert record.failure is None


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_neither_key_nor_failure_is_shown(kind: Any, entry: dict[str, Any]) -> None:
    record = kind.from_entry(entry)
    record.fail(ValueError(SECRET))
    assert SECRET in record.key
    assert SECRET not in f"{record!r} {record} {record.__rich_repr__()} {record.failure!r}"


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_a_failure_keeps_no_exception_alive_and_so_no_batch(kind: Any, entry: dict[str, Any]) -> None:
    # Records are left out of garbage collection: one that held its own traceback would never be freed.
    class Broken(Exception):
        pass

    record = kind.from_entry(entry)
    try:
        raise Broken
    except Broken as error:
        raised = weakref.ref(error)
        record.fail(error)
    gc.collect()
    assert raised() is None
    assert record.failure is not None
    assert record.failure.kind.endswith("Broken")


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_only_what_comes_from_a_dead_letter_is_redriven(kind: Any, entry: dict[str, Any]) -> None:
    assert not kind.from_entry(entry).redriven
    record = kind.from_entry(entry, redriven=True)
    assert record.redriven
    assert pickle.loads(pickle.dumps(record)).redriven


def test_no_reply_is_redriven_or_failed() -> None:
    pages = (
        decode_dynamodb(json.dumps({"Records": [ENTRIES[0][1]]}).encode()),
        decode_kinesis(b'{"Records":[{"SequenceNumber":"1","Data":""}]}'),
    )
    assert [(each.redriven, each.failure) for page in pages for each in page.records] == [(False, None)] * 2


def test_the_key_of_an_arrival_is_its_partition_key() -> None:
    assert KinesisRecord.from_entry(ENTRIES[1][1]).key == SECRET
    assert KinesisRecord.from_entry({"SequenceNumber": "1", "Data": b""}).key == ""


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        (b'{"pk":{"S":"a"},"sk":{"N":"1.5"}}', '{"pk":{"S":"a"},"sk":{"N":"1.5"}}'),
        (b'{ "sk" : {"N":"1.5"},\n"pk":{"S":"a"} }', '{"pk":{"S":"a"},"sk":{"N":"1.5"}}'),
        (rb'{"pk":{"S":"\u043a\"\/"}}', '{"pk":{"S":"к\\"/"}}'),
        (b'{"pk":{"B":"AP8="}}', '{"pk":{"B":"AP8="}}'),
        (b"{}", "{}"),
        (b"null", "{}"),
    ],
)
def test_the_key_of_a_change_is_its_primary_key_however_it_is_written(sent: bytes, key: str) -> None:
    assert keyed(sent).key == key
    assert keyed(sent).detach().key == key


def test_a_change_without_keys_has_an_empty_one() -> None:
    assert DynamoDBRecord.from_entry({"dynamodb": {"SequenceNumber": "1"}}).key == "{}"


@pytest.mark.parametrize("odd", [b'{"pk":{"S":7}}', b'{"pk":7,"a":1}', b"[1]", b'{"pk":{"S":"\xff"}}'])
def test_what_is_no_primary_key_has_a_key_all_the_same_and_always_the_same(odd: bytes) -> None:
    keys = {keyed(odd).key for _ in range(2)}
    assert len(keys) == 1
    assert keys != {keyed(b'{"pk":{"S":"a"}}').key}


_parts = st.one_of(
    st.text().map(lambda text: {"S": text}),
    st.integers().map(lambda number: {"N": str(number)}),
    st.binary().map(lambda content: {"B": content}),
)


@given(st.dictionaries(st.text(), _parts, min_size=1, max_size=2), st.randoms(use_true_random=False))
def test_one_item_has_one_key_and_another_item_another(keys: dict[str, Any], draw: random.Random) -> None:
    shuffled = dict(draw.sample([*keys.items()], len(keys)))
    record, again = (
        DynamoDBRecord.from_entry({"dynamodb": {"SequenceNumber": "1", "Keys": each}}) for each in (keys, shuffled)
    )
    assert record.key == again.key == DynamoDBRecord.from_entry(record.raw).key
    assert again.raw["dynamodb"]["Keys"] == json.loads(record.key, object_hook=_with_bytes)


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    return {"B": base64.b64decode(value["B"])} if isinstance(value.get("B"), str) else value
