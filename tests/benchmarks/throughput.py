"""Records for each second of CPU: a worker against a plain boto3 loop, in turns, neither looking into the records."""

from __future__ import annotations

import json
import resource
import statistics
import sys
from typing import Any

import boto3

from tests.benchmarks.options import Options
from tests.benchmarks.stage import Stage, Table, WorkerProcess, progress, until

_RECORDS = 20_000
_PAYLOAD_BYTES = 1000
_SHARDS = 2
_WITHIN_SECONDS = 240.0


async def measure(options: Options) -> dict[str, Any]:
    """A ratio of medians: absolute figures say how busy the machine was. No goal yet."""
    ours, loops = [], []
    async with Stage.set() as stage:
        table = await stage.table("bulk", _SHARDS)
        await table.do("preload", records=_RECORDS, payload_bytes=_PAYLOAD_BYTES)
        for index in range(options.rounds):
            loops.append(await _loop(stage, table, f"loop-{index}"))
            ours.append(await _worker(stage, table, f"leasehold-{index}"))
            progress(f"  round {index + 1}: boto3 {loops[-1]:,.0f}, leasehold {ours[-1]:,.0f} records per CPU-second")
    return {
        "records_per_cpu_second": round(statistics.median(ours)),
        "boto3_records_per_cpu_second": round(statistics.median(loops)),
        "ratio_to_boto3": round(statistics.median(ours) / statistics.median(loops), 2),
        "records": _RECORDS,
        "payload_bytes": _PAYLOAD_BYTES,
        "rounds": options.rounds,
    }


async def _loop(stage: Stage, table: Table, name: str) -> float:
    process = await stage.process(name, [sys.executable, "-m", "tests.benchmarks.throughput", table.name])
    if await process.wait(_WITHIN_SECONDS) != 0:
        raise RuntimeError(f"The boto3 loop failed:\n{process.log}")
    found: float = json.loads(process.log)
    return found


async def _worker(stage: Stage, table: Table, name: str) -> float:
    """All records by a worker of an app of its own; its CPU time from its first processor's start to the last batch."""
    worker: WorkerProcess = await stage.worker(table, name, "--app", name, processor="Counting")

    def finished() -> list[tuple[int, float]]:
        notes = worker.events("counted")
        counted = {note.shard_id: note.number[0] for note in notes}
        return [note.number for note in notes] if sum(counted.values()) >= _RECORDS else []

    notes = await until(finished, "all records counted", _WITHIN_SECONDS)
    await worker.end()
    cpu: list[float] = [seconds for _, seconds in notes]
    return _RECORDS / (max(cpu) - min(cpu))


def _read_all(table_name: str) -> float:
    """The loop that people write first: records per CPU-second of it."""
    client = boto3.client("dynamodbstreams")
    arn = client.list_streams(TableName=table_name)["Streams"][0]["StreamArn"]
    began = _cpu_seconds()
    read = 0
    for shard in client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = client.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]
        while iterator:
            page = client.get_records(ShardIterator=iterator, Limit=1000)
            if not page["Records"]:
                break
            read += len(page["Records"])
            iterator = page.get("NextShardIterator")
    if read != _RECORDS:
        raise RuntimeError(f"The loop read {read} records of {_RECORDS}.")
    return read / (_cpu_seconds() - began)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(_read_all(sys.argv[1]))
