"""Where a store is, as a user writes it: the four forms, and a sentence for everything else."""

from __future__ import annotations

import pytest

from consumer.dead_letters.notifying import NotifyingStore
from consumer.dead_letters.opening import open_store
from consumer.errors import ConfigError
from consumer.store_address import StoreAddress, parse_store, parse_topic

BUCKETS = ["s3://", "s3://UPPER/x", "s3://ab", "s3://bucket/with space", "s3://bucket/%2F"]
QUEUES = ["file:folder/", "sqs:", "sqs:a.b", "sqs:a/b", f"sqs:{'x' * 81}"]
TOPIC = "arn:aws:sns:us-east-1:123456789012:letters"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://orders-dead/audit/", StoreAddress("s3", "orders-dead", "audit")),
        ("s3://orders-dead", StoreAddress("s3", "orders-dead")),
        (" dynamodb:Orders_Dead.1 ", StoreAddress("dynamodb", "Orders_Dead.1")),
        ("file:/var/lib/app/dead.jsonl", StoreAddress("file", "/var/lib/app/dead.jsonl")),
        ("file:dead letters:1", StoreAddress("file", "dead letters:1")),
        ("sqs:orders-dead", StoreAddress("sqs", "orders-dead")),
        ("sqs:orders-dead.fifo", StoreAddress("sqs", "orders-dead.fifo")),
        ("sqs:http://127.0.0.1:4566/000000000000/q", StoreAddress("sqs", "http://127.0.0.1:4566/000000000000/q")),
    ],
)
def test_each_form_is_understood(text: str, address: StoreAddress) -> None:
    assert parse_store(text) == address
    assert open_store(text).name.startswith(address.kind)
    assert open_store(text).tells_keys is address.can_hold_keys


@pytest.mark.parametrize("text", ["", "orders", "ftp://x", *BUCKETS, "dynamodb:", "dynamodb:a b", "file:", *QUEUES])
def test_what_is_no_store_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX, dynamodb:TABLE, file:PATH or sqs:QUEUE"):
        parse_store(text)


def test_beside_a_topic_it_is_the_same_store() -> None:
    store = open_store("s3://orders-dead/audit", topic=TOPIC)
    assert isinstance(store, NotifyingStore)
    assert (store.name, store.tells_repeats, store.tells_keys) == ("s3://orders-dead/audit", True, True)
    assert parse_topic(f"{TOPIC}.fifo") == f"{TOPIC}.fifo"


@pytest.mark.parametrize("topic", ["letters", "arn:aws:sqs:us-east-1:123456789012:letters", f"{TOPIC}/x"])
def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(ConfigError, match="arn:aws:sns:REGION:ACCOUNT:TOPIC"):
        open_store("sqs:q", topic=topic)


@pytest.mark.parametrize("bucket", ["", "A", "s3://with/prefix"])
def test_what_is_no_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(ConfigError, match="no bucket"):
        open_store("sqs:q", bucket=bucket)
