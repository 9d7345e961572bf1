"""Catalogue, cost: the memory of a real worker process with many shards and a backlog in each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.testing.ministack import Ministack
from consumer.testing.server_thread import StreamServerThread
from tests.integration.running import Running

pytestmark = pytest.mark.integration

SHARDS = 100
CODE = """
import asyncio
from consumer import RecordProcessor

class Holds(RecordProcessor):
    async def process_records(self, records, checkpointer):
        print(sum("pk" in record.new_image for record in records), flush=True)
        await asyncio.sleep(3600)
"""


def _peak_megabytes(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def test_c75_a_hundred_shards_with_full_pages_fit_a_512_mb_process(tmp_path: Path, ministack: Ministack) -> None:
    """Every shard has a page of 1 MB in user code's hands; how much more is read ahead is bounded in C3.

    Of items with a hundred small attributes, which take the most room once they are read; user code has read each image
    of every record that it holds. Left unread, they take little more than their bytes: 230 MB in place of 410.
    """
    (tmp_path / "user_orders.py").write_text(CODE)
    with StreamServerThread() as streams:
        arn = streams.create_table("orders", shard_count=SHARDS)
        fill(streams)
        environment = ministack.environment | {"AWS_ENDPOINT_URL_DYNAMODB_STREAMS": streams.endpoint_url}
        worker = Running(tmp_path, environment, "user_orders:Holds", "--source", arn)
        try:
            held = [int(worker.line()) for _ in range(SHARDS)]
            peak = _peak_megabytes(worker.process.pid)
        finally:
            worker.process.kill()
            worker.close()
    print(f"{SHARDS} shards, {sum(held)} records of 11 kB in hand: {peak:.0f} MB at most")
    assert sum(held) > SHARDS * 50
    assert peak < 512.0


def fill(streams: StreamServerThread) -> None:
    """About 1.25 MB a shard, in items of 11 kB."""
    payload = {f"field{number}": "x" * 100 for number in range(100)}
    for number in range(SHARDS * 110):
        streams.put_item("orders", new_image={"pk": f"k{number}", **payload})
