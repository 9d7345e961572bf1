from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from consumer.demo.journal import Appender, read_writes
from consumer.demo.writer import Change, KinesisTarget, TableTarget, changes, write


class LateClock:
    """A clock on which every sleep lasts as long as asked, and nothing else takes time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def timeout(self, seconds: float | None) -> Any:
        raise AssertionError("the writer has no time-outs of its own")


class Taking:
    batch = 2

    def __init__(self, fails_at: int = -1) -> None:
        self.taken: list[Change] = []
        self.fails_at = fails_at

    def apply(self, changes: Any) -> None:
        if len(self.taken) == self.fails_at:
            raise OSError("refused")
        self.taken += changes


def test_versions_ascend_by_one_for_each_key_and_only_what_is_there_is_updated_or_deleted():
    versions: Counter[str] = Counter()
    there: set[str] = set()
    operations: Counter[str] = Counter()
    for key, version, operation in itertools.islice(changes(Random(3)), 3000):
        versions[key] += 1
        assert version == versions[key]
        assert operation == "put" or key in there
        there = there - {key} if operation == "delete" else there | {key}
        operations[operation] += 1
    assert len(versions) >= 50
    assert set(operations) == {"put", "update", "delete"}


def test_a_batch_never_holds_a_key_twice():
    source = changes(Random(3))
    for _ in range(200):
        batch = [next(source)[0] for _ in range(KinesisTarget.batch)]
        assert len(set(batch)) == len(batch)


async def test_the_journal_holds_exactly_what_was_acknowledged(tmp_path: Path):
    target = Taking(fails_at=10)
    with Appender(tmp_path / "w") as journal, pytest.raises(OSError, match="refused"):
        await write(target, journal, seconds=5, at_least=0, clock=LateClock(), random=Random(1))
    assert [(each.key, each.version, each.operation) for each in read_writes(tmp_path / "w")] == target.taken


@pytest.mark.parametrize(("at_least", "lasts"), [(10, 10.0), (1000, 12.5), (10**6, 20.0)])
async def test_it_writes_for_the_time_and_on_until_enough_but_at_most_twice_as_long(
    tmp_path: Path, at_least: int, lasts: float
):
    clock = LateClock()
    with Appender(tmp_path / "w") as journal:
        made = await write(Taking(), journal, seconds=10, at_least=at_least, clock=clock, random=Random(1))
    assert clock.now - 100.0 == pytest.approx(lasts, abs=0.1)
    assert made == pytest.approx(80 * lasts, abs=4)


class Calls:
    """A client that notes its calls; PutRecords refuses the first entry of the first two calls."""

    def __init__(self, refusals: int = 2) -> None:
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.refusals = refusals

    def __getattr__(self, name: str) -> Any:
        def call(**fields: Any) -> Any:
            self.made.append((name, fields))
            results: list[dict[str, str]] = [{} for _ in fields.get("Records", ())]
            if len(self.made) <= self.refusals and results:
                results[0] = {"ErrorCode": "ProvisionedThroughputExceededException"}
            return {"Records": results}

        return call


def test_each_operation_carries_its_version():
    client = Calls()
    TableTarget(client, "orders").apply([("a", 1, "put"), ("a", 2, "update"), ("a", 3, "delete")])
    assert [name for name, _ in client.made] == ["put_item", "update_item", "delete_item"]
    assert client.made[0][1]["Item"]["version"] == {"N": "1"}
    assert client.made[1][1]["ExpressionAttributeValues"][":version"] == {"N": "2"}
    assert {str(fields["TableName"]) for _, fields in client.made} == {"orders"}


def test_refused_records_are_put_again_alone_until_taken():
    client = Calls()
    KinesisTarget(client, "orders").apply([("a", 1, "put"), ("b", 1, "put")])
    assert [[each["PartitionKey"] for each in fields["Records"]] for _, fields in client.made] == [
        ["a", "b"],
        ["a"],
        ["a"],
    ]


def test_records_that_are_always_refused_end_the_writer():
    with pytest.raises(OSError, match="1 records of orders were refused ten times"):
        KinesisTarget(Calls(refusals=99), "orders").apply([("a", 1, "put"), ("b", 1, "put")])
