"""The page of several processes: their own pages are real ones here, asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from consumer import hooks
from consumer.operate.prometheus import PrometheusHook
from consumer.operate.server import listen, serve
from consumer.operate.status import ShardStatus, WorkerStatus
from consumer.operate.supervisor.page import GroupPage, fetching
from consumer.operate.supervisor.supervisor import ProcessState, ProcessView


@dataclass
class Processes:
    """What a page asks a supervisor, and the real pages of its processes."""

    stack: AsyncExitStack
    views: list[ProcessView] = field(default_factory=list)
    statuses: dict[int, WorkerStatus] = field(default_factory=dict)
    restarts: int = 0
    is_draining: bool = False

    def view(self) -> tuple[ProcessView, ...]:
        return tuple(self.views)

    async def at_work(self, records: int = 0, **status: object) -> None:
        """A further process, whose page answers."""
        number = len(self.views) + 1
        hook = PrometheusHook()
        hook(hooks.BatchProcessed("s", records, 1, 0.1, "1", "9"))
        self.statuses[number] = WorkerStatus(worker_id=f"host-{number}", **status)  # type: ignore[arg-type]
        page = serve("127.0.0.1", 0, registry=hook.registry, status=lambda: self.statuses[number])
        self.add("at_work", port=await self.stack.enter_async_context(page))

    def add(self, state: ProcessState, *, port: int | None = None, reason: str = "") -> None:
        number = len(self.views) + 1
        self.views.append(ProcessView(number, state, 1, 100 + number, f"host-{number}", port, reason))


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:
        yield Processes(stack)


class Seen:
    """What one who asks over HTTP gets."""

    def __init__(self, processes: Processes, *, answer_seconds: float = 4.0) -> None:
        self._processes = processes
        self._answer_seconds = answer_seconds

    async def __call__(self, path: str) -> tuple[int, str]:
        async with fetching(self._answer_seconds) as fetch, aiohttp.ClientSession() as session:
            page = GroupPage(self._processes, fetch)  # type: ignore[arg-type]  # the three things it asks of one
            async with (
                listen("127.0.0.1", 0, metrics=page.metrics, health=page.health) as port,
                session.get(f"http://127.0.0.1:{port}{path}") as reply,
            ):
                return reply.status, await reply.text()


async def test_counters_of_all_stand_on_one_page_with_the_count_of_processes(processes: Processes):
    await processes.at_work(records=5)
    await processes.at_work(records=7)
    processes.add("restarting", reason="ended (killed by SIGKILL) and is started again")
    processes.restarts = 3
    status, text = await Seen(processes)("/metrics")
    assert status == 200
    lines = text.splitlines()
    assert "leasehold_records_processed_total 12.0" in lines
    assert 'leasehold_batch_duration_seconds_bucket{le="+Inf"} 2.0' in lines
    assert 'leasehold_processes{state="at_work"} 2.0' in lines
    assert 'leasehold_processes{state="restarting"} 1.0' in lines
    assert 'leasehold_processes{state="silent"} 0.0' in lines
    assert "leasehold_process_restarts_total 3.0" in lines
    assert len([line for line in lines if line.startswith("process_resident_memory_bytes ")]) == 1


async def test_health_of_all_is_that_of_each(processes: Processes):
    await processes.at_work(shards=(ShardStatus(shard_id="a", stage="reading"),))
    await processes.at_work(shards=tuple(ShardStatus(shard_id=key, stage="reading") for key in "bc"))
    status, text = await Seen(processes)("/healthz")
    health = json.loads(text)
    assert status == 200
    assert (health["healthy"], health["draining"], health["shards_held"], health["problems"]) == (True, False, 3, [])
    assert [(each["process"], each["worker_id"], each["shards_held"]) for each in health["processes"]] == [
        (1, "host-1", 1),
        (2, "host-2", 2),
    ]


async def test_what_ails_one_process_is_told_with_its_number(processes: Processes):
    await processes.at_work()
    await processes.at_work(problems=("Shard s is left unread.",))
    processes.add("starting", reason="is starting")
    processes.add("restarting", reason="ended (exit code 1) and is started again")
    status, text = await Seen(processes)("/healthz")
    assert status == 503
    assert json.loads(text)["problems"] == [
        "Process 2: Shard s is left unread.",
        "Process 3 is starting.",
        "Process 4 ended (exit code 1) and is started again.",
    ]


async def test_a_process_that_does_not_answer_holds_nobody_up_for_long(processes: Processes):
    await processes.at_work(records=5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        processes.add("at_work", port=deaf.getsockname()[1])
        seen = Seen(processes, answer_seconds=0.2)
        status, text = await seen("/healthz")
        assert status == 503
        assert json.loads(text)["problems"] == ["Process 2 does not answer: no answer within 0.2 s."]
        _, text = await seen("/metrics")
    assert 'leasehold_processes{state="silent"} 1.0' in text
    assert 'leasehold_processes{state="at_work"} 1.0' in text
    assert "\nleasehold_records_processed_total 5.0\n" in text
    assert 'leasehold_processes{state="silent"} 1.0' in (await seen("/metrics"))[1]  # closed now: refused at once


async def test_a_drain_is_no_illness(processes: Processes):
    await processes.at_work(draining=True)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        processes.add("draining", port=closed.getsockname()[1])
    processes.add("ended")
    processes.is_draining = True
    status, text = await Seen(processes)("/healthz")
    health = json.loads(text)
    assert (status, health["draining"], health["problems"]) == (200, True, [])


async def test_many_who_ask_at_once_ask_each_process_once(processes: Processes):
    asked: list[str] = []
    answered = asyncio.Event()

    async def fetch(port: int, path: str) -> str:
        asked.append(path)
        await answered.wait()
        return json.dumps({"healthy": True, "problems": []})

    processes.add("at_work", port=1)
    page = GroupPage(processes, fetch)  # type: ignore[arg-type]
    probes = [asyncio.create_task(page.health()) for _ in range(50)]
    await asyncio.sleep(0)
    probes[0].cancel()
    await asyncio.sleep(0)
    answered.set()
    assert {(await probe).healthy for probe in probes[1:]} == {True}
    assert asked == ["/healthz"]
    await page.health()
    assert asked == ["/healthz", "/healthz"]


async def test_a_page_too_long_is_refused():
    async def metrics() -> CollectorRegistry:
        registry = CollectorRegistry()
        hook = PrometheusHook(registry)
        hook(hooks.Throttled("s", "x" * 9_000_000))
        return registry

    async def health() -> object:
        raise AssertionError("nobody asks")

    async with (
        listen("127.0.0.1", 0, metrics=metrics, health=health) as port,  # type: ignore[arg-type]
        fetching() as fetch,
    ):
        with pytest.raises(OSError, match="longer than 8388608 bytes"):
            await fetch(port, "/metrics")
