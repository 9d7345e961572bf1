"""The demo's writer, a process of its own: changes items, or puts records, and writes down what was acknowledged.

``python -m consumer.demo.writer dynamodb|kinesis ENDPOINT NAME JOURNAL SECONDS WRITES``. It writes for SECONDS, and on
until it has made WRITES, for at most twice as long.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from consumer.clock import Clock, SystemClock
from consumer.demo.journal import Appender, Write
from consumer.demo.local_aws import local_client

__all__ = ["Change", "KinesisTarget", "TableTarget", "Target", "changes", "main", "write"]

Change = tuple[str, int, str]
"""Key, version, operation (put, update or delete)."""

_KEYS: Final = 96
_WRITES_PER_SECOND: Final = 80
_BATCH: Final = 8


class Target(Protocol):
    """Where changes go."""

    @property
    def batch(self) -> int:
        """How many changes one call carries, each of another key."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Returns when all of ``changes`` are acknowledged."""
        ...


class TableTarget:
    """Items of a DynamoDB table."""

    batch = 1

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def apply(self, changes: Sequence[Change]) -> None:
        for key, version, operation in changes:
            place = {"TableName": self._table}
            item_key = {"order_id": {"S": key}}
            if operation == "delete":
                self._client.delete_item(**place, Key=item_key)
            elif operation == "update":
                values = {":version": {"N": str(version)}, ":status": {"S": "changed"}}
                names = {"#version": "version", "#status": "status"}
                expression = "SET #version = :version, #status = :status"
                self._client.update_item(
                    **place,
                    Key=item_key,
                    UpdateExpression=expression,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                )
            else:
                item = {"version": {"N": str(version)}, "status": {"S": "placed"}, "total": {"N": "9.95"}}
                self._client.put_item(**place, Item=item_key | item)


class KinesisTarget:
    """Records of a Kinesis stream; what a call refuses is put again before anything later of the same keys."""

    batch = _BATCH

    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self._stream = stream

    def apply(self, changes: Sequence[Change]) -> None:
        entries = [
            {"PartitionKey": key, "Data": json.dumps({"version": version, "operation": operation}).encode()}
            for key, version, operation in changes
        ]
        for _ in range(10):
            reply = self._client.put_records(StreamName=self._stream, Records=entries)
            entries = [entry for entry, result in zip(entries, reply["Records"], strict=True) if "ErrorCode" in result]
            if not entries:
                return
        raise OSError(f"{len(entries)} records of {self._stream} were refused ten times.")


def changes(random: Random) -> Iterator[Change]:
    """Changes without end: each round touches every key once, in another order; versions ascend by one for each key."""
    versions = dict.fromkeys((f"order-{number:03d}" for number in range(_KEYS)), 0)
    absent = set(versions)
    while True:
        for key in random.sample(sorted(versions), _KEYS):
            versions[key] += 1
            operation = "put" if key in absent else random.choices(("update", "put", "delete"), (7, 2, 1))[0]
            if operation == "delete":
                absent.add(key)
            else:
                absent.discard(key)
            yield key, versions[key], operation


async def write(
    target: Target, journal: Appender, *, seconds: float, at_least: int, clock: Clock, random: Random
) -> int:
    """Write at an even pace; how many changes were made, all of them acknowledged and in the journal."""
    source = changes(random)
    began = clock.monotonic()
    made = 0
    while True:
        elapsed = clock.monotonic() - began
        if elapsed >= seconds and (made >= at_least or elapsed >= 2 * seconds):
            return made
        batch = [next(source) for _ in range(target.batch)]
        target.apply(batch)
        at = clock.monotonic()
        journal.append([Write(key, version, operation, at) for key, version, operation in batch])
        made += len(batch)
        # Late is late: a pause that was missed is not made up for by a burst.
        await clock.sleep(max(0.0, began + made / _WRITES_PER_SECOND - clock.monotonic()))


def main(arguments: Sequence[str]) -> int:
    """Write as the command line says; the exit code."""
    kind, endpoint_url, name, journal, seconds, at_least = arguments
    client = local_client(kind, endpoint_url)
    target: Target = TableTarget(client, name) if kind == "dynamodb" else KinesisTarget(client, name)
    with Appender(Path(journal)) as file:
        made = asyncio.run(
            write(target, file, seconds=float(seconds), at_least=int(at_least), clock=SystemClock(), random=Random(7))
        )
    return 0 if made >= int(at_least) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
