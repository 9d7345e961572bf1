"""``leasehold run --processes N`` as real processes: shared, drained, killed, crashed, and seen as one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consumer.testing.ministack import Ministack
from consumer.testing.server_thread import StreamServerThread
from tests.integration.ledger import CLOCK, disorder, lost, repeats, repeats_within_tenures
from tests.integration.supervised_stage import Supervised, SupervisedGroup, page

pytestmark = pytest.mark.integration

SHARDS = 4


@pytest.fixture
async def group(tmp_path: Path, ministack: Ministack) -> AsyncIterator[SupervisedGroup]:
    with StreamServerThread() as streams:
        made = SupervisedGroup(tmp_path, ministack, streams, SHARDS)
        try:
            yield made
        finally:
            made.close()


async def until_shared(group: SupervisedGroup, supervised: Supervised, *pids: int) -> None:
    """Until these processes have the same number of shards each, and were given a record of every one."""

    def reached() -> bool:
        shares = [supervised.shards_of(pid) for pid in pids]
        read = {(note.worker, note.shard_id) for note in group.ledger.of("record")}
        return all(
            len(share) == SHARDS // len(pids) and all((str(pid), shard) in read for shard in share)
            for pid, share in zip(pids, shares, strict=True)
        )

    await group.ledger.until(reached, f"shards shared by {pids}")


async def counted(port: int) -> int:
    """The records processed by all, as the page says."""
    _, metrics = await asyncio.to_thread(page, port, "/metrics")
    (found,) = re.findall(r"^leasehold_records_processed_total (\d+)\.0$", metrics, re.MULTILINE)
    return int(found)


def judge(group: SupervisedGroup) -> None:
    """Nothing lost, each key in order, no repeat within a tenure."""
    notes = group.ledger.notes
    assert lost(notes, group.ledger.written) == []
    assert disorder(notes) == []
    assert repeats_within_tenures(notes) == []


@pytest.mark.timeout(180)
async def test_two_processes_share_the_shards_are_seen_as_one_and_drain_together(group: SupervisedGroup):
    supervised = group.start(2, "--http", "127.0.0.1:0", "--worker-id", "ada")
    async with group.orders.written_to(per_second=50.0):
        port = await supervised.port()
        status, health = await asyncio.to_thread(page, port, "/healthz")
        assert status == 503
        assert "Process 1 is starting." in health["problems"]
        one, two = await supervised.started(1), await supervised.started(2)
        await until_shared(group, supervised, one, two)
        status, health = await asyncio.to_thread(page, port, "/healthz")
        assert (status, health["healthy"], health["shards_held"]) == (200, True, SHARDS)
        assert [(each["pid"], each["worker_id"][:6]) for each in health["processes"]] == [
            (one, "ada-1-"),
            (two, "ada-2-"),
        ]
    await group.ledger.until_all_delivered()
    async with CLOCK.timeout(10.0):  # a batch counts when it is done, and is in the ledger before that
        while await counted(port) < len(group.ledger.of("record")):
            await CLOCK.sleep(0.05)
    assert await counted(port) == len(group.ledger.of("record"))
    _, metrics = await asyncio.to_thread(page, port, "/metrics")
    assert f"leasehold_leases_held {SHARDS}.0" in metrics
    assert 'leasehold_processes{state="at_work"} 2.0' in metrics
    sent_at = supervised.send(signal.SIGTERM)
    assert await asyncio.to_thread(supervised.end) == 0, supervised.said()
    assert CLOCK.monotonic() - sent_at < 10.0
    judge(group)
    assert repeats(group.ledger.notes) == []
    assert group.ledger.of("lease_lost") == []
    assert re.search(r"INFO leasehold\.worker\[2\]: .* no lease names it", supervised.said())
    assert "Traceback" not in supervised.said()


@pytest.mark.timeout(180)
async def test_a_killed_process_is_started_again_and_nothing_is_lost(group: SupervisedGroup):
    supervised = group.start(2, "--http", "127.0.0.1:0")
    async with group.orders.written_to(per_second=50.0):
        one, two = await supervised.started(1), await supervised.started(2)
        await until_shared(group, supervised, one, two)
        before = await counted(port := await supervised.port())
        os.kill(two, signal.SIGKILL)
        again = await supervised.started(2, times=2)
        _, health = await asyncio.to_thread(page, port, "/healthz")
        assert health["problems"] == ["Process 2 is starting."]
        await until_shared(group, supervised, one, again)
        assert await counted(port) >= before > 0
        assert "leasehold_process_restarts_total 1.0" in (await asyncio.to_thread(page, port, "/metrics"))[1]
    await group.ledger.until_all_delivered()
    supervised.press(signal.SIGINT)  # Ctrl-C
    assert await asyncio.to_thread(supervised.end) == 0, supervised.said()
    judge(group)
    assert re.search(rf"Process 2 \(pid {two}\) ended after \d+ s: killed by SIGKILL", supervised.said())
    assert len(re.findall("no lease names it", supervised.said())) == 2
    assert "Traceback" not in supervised.said()


@pytest.mark.timeout(180)
async def test_when_the_supervisor_is_killed_its_processes_drain_and_none_is_left(
    group: SupervisedGroup, dynamodb: Any
):
    supervised = group.start(2)
    async with group.orders.written_to(per_second=50.0):
        one, two = await supervised.started(1), await supervised.started(2)
        await until_shared(group, supervised, one, two)
        supervised.send(signal.SIGKILL)
        assert await asyncio.to_thread(supervised.end) == -signal.SIGKILL
    await supervised.until_none_is_left()
    assert len(re.findall(r"leasehold\.worker\[\d\]: .* no lease names it", supervised.said())) == 2
    rows = dynamodb.scan(TableName=group.app, ConsistentRead=True)["Items"]
    assert len(rows) == SHARDS
    assert [row for row in rows if "leaseOwner" in row] == []
    # Whoever comes next goes on where they stopped.
    after = group.start(1)
    await group.ledger.until_all_delivered()
    after.send(signal.SIGTERM)
    assert await asyncio.to_thread(after.end) == 0, after.said()
    judge(group)
    assert repeats(group.ledger.notes) == []


async def test_a_crash_loop_is_told_and_ends_with_the_code_of_what_crashed(group: SupervisedGroup, tmp_path: Path):
    crashes = "import os\nfrom user_orders import ByProcess\nif os.path.exists('crash'):\n    os._exit(7)\n"
    (tmp_path / "crashing.py").write_text(crashes)
    supervised = group.start(2, processor="crashing:ByProcess")
    await supervised.at_work(1, 2)
    (tmp_path / "crash").touch()
    for number in (1, 2):
        os.kill(await supervised.started(number), signal.SIGKILL)
    assert await asyncio.to_thread(supervised.end) == 7, supervised.said()
    assert re.search(r"It is not started again: .* a crash loop.* exit code 7", supervised.said())
    assert "killed by SIGKILL. The leases it held expire in at most 2 s" in supervised.said()
    await supervised.until_none_is_left()


async def test_a_bad_configuration_is_told_once_and_nothing_is_tried_again(group: SupervisedGroup):
    supervised = group.start(3, processor="user_orders:Nothing")
    assert await asyncio.to_thread(supervised.end) == 3, supervised.said()
    assert supervised.said().count("has no 'Nothing'") == 1
    assert "leasehold: the module user_orders" in supervised.said()
    assert "is started again" not in supervised.said()


@pytest.mark.timeout(120)
async def test_a_second_ctrl_c_leaves_user_code_behind_that_never_returns(group: SupervisedGroup):
    group.orders.put(*(f"k{number}" for number in range(32)))
    supervised = group.start(2, "--drain-timeout-seconds", "600", processor="user_orders:Blocks")
    await supervised.at_work(1, 2)
    await group.ledger.until(lambda: group.ledger.of("record"), "user code that blocks")
    supervised.press(signal.SIGINT)
    await CLOCK.sleep(0.5)  # later than an echo
    supervised.press(signal.SIGINT)
    assert await asyncio.to_thread(supervised.end, 10.0) == 4, supervised.said()
    assert re.search(r"leasehold\.cli\[[12]\]: .* the leases of .* expire in at most 2 s", supervised.said())


async def test_a_ctrl_c_while_processes_start_ends_all_in_silence(group: SupervisedGroup):
    for moment in (0.0, 0.05, 0.3):
        supervised = group.start(3)
        await supervised.started(3)
        await CLOCK.sleep(moment)
        supervised.press(signal.SIGINT)
        assert await asyncio.to_thread(supervised.end, 10.0) == 0, supervised.said()
        assert re.findall("Traceback|KeyboardInterrupt|interrupted|again", supervised.said()) == []


async def test_a_process_that_hangs_in_its_import_is_no_obstacle_to_a_stop(group: SupervisedGroup, tmp_path: Path):
    (tmp_path / "hangs.py").write_text("import threading\nthreading.Event().wait()\n")
    supervised = group.start(2, processor="hangs:Orders")
    await supervised.started(2)
    await CLOCK.sleep(1.5)
    supervised.send(signal.SIGTERM)
    assert await asyncio.to_thread(supervised.end, 10.0) == 0, supervised.said()


async def test_a_supervisor_killed_while_its_processes_hang_in_their_import_leaves_none(
    group: SupervisedGroup, tmp_path: Path
):
    (tmp_path / "hangs.py").write_text("import threading\nthreading.Event().wait()\n")
    supervised = group.start(2, processor="hangs:Orders")
    await supervised.started(2)
    supervised.send(signal.SIGKILL)
    await asyncio.to_thread(supervised.end)
    await supervised.until_none_is_left()
