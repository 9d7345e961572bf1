"""Every store of dead letters that there is, and what a test must know of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from aiobotocore.session import AioSession

from consumer.dead_letters.opening import open_store
from consumer.dead_letters.store import DeadLetterStore
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from lease_store.aws_session import own_session

__all__ = ["KINDS", "REAL", "LetterBench", "aws_session", "client", "make_bench", "make_queue", "make_table"]

KINDS = ("memory", "file", "s3", "dynamodb", "sqs", "sqs-fifo")
REAL = ("s3", "dynamodb", "sqs", "sqs-fifo")


@dataclass(frozen=True, slots=True)
class LetterBench:
    """A fresh store, and how to open what is in it a second time, as another process would."""

    kind: str
    address: str
    endpoint_url: str = ""
    bucket: str | None = None
    memory: MemoryDeadLetters | None = None

    def store(
        self, *, endpoint_url: str | None = None, bucket: str | None = "as it is", topic: str | None = None
    ) -> DeadLetterStore:
        """The store itself, through another endpoint, without its bucket or beside a topic where that is said."""
        if self.memory is not None:
            return self.memory
        session = aws_session(endpoint_url or self.endpoint_url) if self.endpoint_url else None
        own = self.bucket if bucket == "as it is" else bucket
        return open_store(self.address, bucket=own, topic=topic, session=session, region_name="us-east-1")


def aws_session(endpoint_url: str) -> AioSession:
    """A session whose clients all speak to that server."""
    session: Any = own_session()  # which shares what it read from disk with all others
    session.set_credentials("local", "local")
    session.create_client = partial(session.create_client, endpoint_url=endpoint_url)
    return session  # type: ignore[no-any-return]


def client(service: str, endpoint_url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def make_bench(kind: str, folder: Path, endpoint_url: str) -> LetterBench:
    """A store of that kind with nothing in it."""
    name = f"letters-{uuid4().hex[:12]}"
    if kind == "memory":
        return LetterBench(kind, "memory:", memory=MemoryDeadLetters())
    if kind == "file":
        return LetterBench(kind, f"file:{folder / name}")
    client("s3", endpoint_url).create_bucket(Bucket=name)
    if kind == "s3":
        return LetterBench(kind, f"s3://{name}/some/where", endpoint_url)
    if kind == "dynamodb":
        make_table(name, endpoint_url)
        return LetterBench(kind, f"dynamodb:{name}", endpoint_url, bucket=name)
    return LetterBench(kind, f"sqs:{make_queue(name, endpoint_url, is_fifo='fifo' in kind)}", endpoint_url, bucket=name)


def make_table(name: str, endpoint_url: str) -> None:
    """A table for letters, as the refusal of a wrong one says that it must be."""
    names = ("stream", "place")
    client("dynamodb", endpoint_url).create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in names],
        KeySchema=[
            {"AttributeName": each, "KeyType": kind} for each, kind in zip(names, ("HASH", "RANGE"), strict=True)
        ],
    )


def make_queue(name: str, endpoint_url: str, *, is_fifo: bool = False, **attributes: str) -> str:
    """A queue; its name."""
    name = f"{name}.fifo" if is_fifo else name
    given = {"MessageRetentionPeriod": "1209600", **({"FifoQueue": "true"} if is_fifo else {}), **attributes}
    client("sqs", endpoint_url).create_queue(QueueName=name, Attributes=given)
    return name
