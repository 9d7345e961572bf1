"""CPU in use: the formulas of each place against numbers worked out by hand, and what a place may say that is wrong."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from consumer.clock import Clock, SystemClock
from consumer.operate.cpu import (
    CpuReading,
    MachineCpu,
    cgroup_v1_reading,
    cgroup_v2_reading,
    cpus_in,
    ecs_limit,
    ecs_reading,
    fetch_text,
    percent_between,
    proc_stat_reading,
)
from consumer.testing.virtual_time import VirtualClock, run_virtual

ROOT = "http://169.254.170.2/v4/cd189a93-2495160603"


def stats(used: int, system: int, cpus: int = 2) -> dict[str, Any]:
    """As ``/stats`` answers (Docker's form), nanoseconds; the system's counter adds up all CPUs."""
    return {
        "read": "2026-11-21T14:00:01.0Z",
        "cpu_stats": {
            "cpu_usage": {"total_usage": used, "percpu_usage": [used // 2, used // 2]},
            "system_cpu_usage": system,
            "online_cpus": cpus,
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        },
    }


def task(*shares: int, cpu: float | None = 0.5) -> dict[str, Any]:
    containers = [{"DockerId": f"c{n}", "Name": f"n{n}", "Limits": {"CPU": each}} for n, each in enumerate(shares)]
    return {"Family": "orders", "Containers": containers} | ({} if cpu is None else {"Limits": {"CPU": cpu}})


def test_the_whole_machine_counts_all_but_idle_time():
    before = proc_stat_reading("cpu  100 20 30 800 50 0 7 2 0 0\ncpu0 1 2 3 4 5\n")
    after = proc_stat_reading("cpu  140 30 50 820 60 9 9 9 0 0\ncpu0 1 2 3 4 5\n")
    assert percent_between(before, after) == 80.0  # 100 ticks passed, 20 of them idle; waiting for a disk is no idling


def test_a_control_group_is_measured_against_its_quota():
    v2 = [
        cgroup_v2_reading(at, f"usage_usec {used}\nuser_usec 1\n", "50000 100000\n", "0-3\n")
        for at, used in ((10.0, 1_000_000), (15.0, 2_000_000))
    ]
    assert percent_between(*v2) == 40.0  # 1 s of CPU in 5 s, where 0.5 CPUs are allowed
    v1 = [
        cgroup_v1_reading(at, f"{used}\n", "150000\n", "100000\n", "0-3\n")
        for at, used in ((10.0, 10**9), (15.0, 4 * 10**9))
    ]
    assert percent_between(*v1) == 40.0  # 3 s in 5 s, of 1.5 CPUs


def test_without_a_quota_it_is_measured_against_its_cpus():
    v2 = [
        cgroup_v2_reading(at, f"usage_usec {used}\n", "max 100000\n", "0-3\n") for at, used in ((0.0, 0), (1.0, 10**6))
    ]
    v1 = [cgroup_v1_reading(at, f"{used}\n", "-1\n", "100000\n", "0,2\n") for at, used in ((0.0, 0), (1.0, 10**9))]
    assert percent_between(*v2) == 25.0
    assert percent_between(*v1) == 50.0


def test_lists_of_cpus():
    assert [cpus_in(text) for text in ("0", "0-3\n", "0-1,4,6-7\n")] == [1.0, 4.0, 5.0]


def test_an_ecs_container_has_its_part_of_the_task():
    assert ecs_limit(task(256, 768, cpu=2.0), {"DockerId": "c1"}, 4.0) == 1.5
    assert ecs_limit(task(256, 768, cpu=None), {"DockerId": "c0"}, 4.0) == 1.0
    assert ecs_limit(task(30), {"DockerId": "unknown"}, 4.0) == pytest.approx(0.5 * 2 / 30)
    assert ecs_limit(task(0, 0), {"DockerId": "c0"}, 4.0) == 0.5, "the KCL divides by zero here"


def test_an_ecs_container_in_percent_of_its_part():
    # Of 2 CPUs' 10 s it used 1 s: 0.2 CPUs, and half a CPU is its own.
    before, after = ecs_reading(stats(3 * 10**9, 100 * 10**9), 0.5), ecs_reading(stats(4 * 10**9, 110 * 10**9), 0.5)
    assert percent_between(before, after) == 40.0


@pytest.mark.parametrize(
    ("used", "passed", "percent"),
    [
        (9.0, 1.0, 100.0),
        (0.0, 5.0, 0.0),
        (1.0, 0.0, 100.0),
        (0.0, 0.0, None),
        (-1.0, 5.0, None),
        (1.0, -5.0, None),
        (float("nan"), 5.0, None),
    ],
)
def test_what_counters_may_do(used: float, passed: float, percent: float | None):
    """A burst beyond the limit is 100; the same reply twice, and counters that begin anew, tell nothing."""
    assert percent_between(CpuReading(5.0, 5.0, 1.0), CpuReading(5.0 + used, 5.0 + passed, 1.0)) == percent


class Place:
    """Files and replies by name; the reader under test knows nothing else."""

    def __init__(self, **environ: str) -> None:
        self.files: dict[str, str] = {}
        self.replies: dict[str, Any] = {}
        self.asked: list[str] = []
        self.cpu = MachineCpu(VirtualClock(), environ=environ, read_file=self.read_file, fetch=self.fetch)

    def read_file(self, path: str) -> str:
        self.asked.append(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    async def fetch(self, url: str) -> str:
        self.asked.append(url)
        if url not in self.replies:
            raise OSError(f"no answer from {url}")
        return json.dumps(self.replies[url])


TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
CGROUP = "/sys/fs/cgroup"
V1 = {
    f"{CGROUP}/cpuacct/cpuacct.usage": "1000000000\n",
    f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1\n",
    f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
    f"{CGROUP}/cpuset/cpuset.effective_cpus": "0-1\n",
}
V2 = {
    f"{CGROUP}/cgroup.controllers": "cpuset cpu io memory\n",
    f"{CGROUP}/cpu.stat": "usage_usec 1000000\nuser_usec 700000\nsystem_usec 300000\n",
    f"{CGROUP}/cpu.max": "50000 100000\n",
    f"{CGROUP}/cpuset.cpus.effective": "0-1\n",
}


def test_on_ecs_the_limits_are_asked_for_once_and_the_counters_each_time():
    place = Place(ECS_CONTAINER_METADATA_URI_V4=ROOT + "/")
    place.files["/proc/stat"] = "cpu 1 1 1 1 1"
    place.replies = {
        ROOT: {"DockerId": "c0"},
        f"{ROOT}/task": task(256, 256, cpu=1.0),
        f"{ROOT}/stats": stats(10**9, 100 * 10**9),
    }

    async def readings() -> list[float | None]:
        first = await place.cpu.read()
        place.replies = {f"{ROOT}/stats": stats(2 * 10**9, 110 * 10**9)}
        return [first, await place.cpu.read()]

    assert run_virtual(readings()) == [None, 40.0]
    assert place.asked == [f"{ROOT}/stats", f"{ROOT}/task", ROOT, f"{ROOT}/stats"]


@pytest.mark.parametrize(
    ("files", "name", "later", "percent"),
    [
        (V2, f"{CGROUP}/cpu.stat", "usage_usec 2000000\n", 40.0),
        (V1, f"{CGROUP}/cpuacct/cpuacct.usage", "2000000000\n", 10.0),
    ],
    ids=["v2", "v1"],
)
def test_in_a_pod_the_control_group_counts(files: dict[str, str], name: str, later: str, percent: float):
    place = Place()
    place.files = {TOKEN: "secret", "/proc/stat": "cpu 1 1 1 1 1", **files}

    async def readings() -> list[float | None]:
        first = await place.cpu.read()
        await VirtualClock().sleep(5.0)
        place.files[name] = later
        return [first, await place.cpu.read()]

    assert run_virtual(readings()) == [None, percent]


def test_elsewhere_the_machine_counts_though_it_has_control_groups():
    """As with the KCL on EC2: its figure and ours must mean the same."""
    place = Place()
    place.files = {**V2, "/proc/stat": "cpu 10 0 0 90 0 0\n"}

    async def readings() -> list[float | None]:
        first = await place.cpu.read()
        place.files["/proc/stat"] = "cpu 40 0 0 110 0 0\n"
        return [first, await place.cpu.read()]

    assert run_virtual(readings()) == [None, 60.0]


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        7,
        {"cpu_stats": None},
        {"cpu_stats": {"cpu_usage": {}, "system_cpu_usage": 1, "online_cpus": 0}},
        stats(1, 1, 0),
        {"cpu_stats": {"online_cpus": "many"}},
    ],
)
def test_whatever_a_place_says_a_reading_that_fails_tells_nothing_and_why_is_said_once(
    reply: Any, caplog: pytest.LogCaptureFixture
):
    place = Place(ECS_CONTAINER_METADATA_URI_V4=ROOT)
    place.replies = {ROOT: {"DockerId": "c0"}, f"{ROOT}/task": task(1), f"{ROOT}/stats": reply}

    async def readings() -> list[float | None]:
        return [await place.cpu.read() for _ in range(3)]

    with caplog.at_level(logging.INFO, "leasehold.cpu"):
        assert run_virtual(readings()) == [None, None, None]
    assert len(caplog.messages) == 1
    assert "by throughput" in caplog.messages[0]


def test_a_reading_after_one_that_failed_covers_the_time_between():
    place = Place()
    place.files["/proc/stat"] = "cpu 0 0 0 0 0\n"

    async def readings() -> list[float | None]:
        seen = [await place.cpu.read()]
        for text in (None, "cpu 30 0 0 70 0\n"):
            place.files = {} if text is None else {"/proc/stat": text}
            seen.append(await place.cpu.read())
        return seen

    assert run_virtual(readings()) == [None, None, 30.0]


def test_where_nothing_can_be_read_nothing_is_told():
    assert run_virtual(Place().cpu.read()) is None
    assert run_virtual(Place(ECS_CONTAINER_METADATA_URI="v3 alone").cpu.read()) is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no Linux")
async def test_this_machine_has_a_reading():
    clock: Clock = SystemClock()
    cpu = MachineCpu(clock, environ={})
    assert await cpu.read() is None
    percent, until = None, clock.monotonic() + 10.0
    while percent is None and clock.monotonic() < until:  # its counters move every 10 ms
        sum(range(100_000))
        percent = await cpu.read()
    assert percent is not None
    assert 0.0 <= percent <= 100.0


async def test_a_metadata_endpoint_is_asked_past_every_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text='{"DockerId": "c0"}') if request.path == "/v4" else web.Response(status=404)

    application = web.Application()
    application.add_routes([web.get("/{path}", answer)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        assert await fetch_text(f"http://127.0.0.1:{port}/v4") == '{"DockerId": "c0"}'
        with pytest.raises(OSError, match="404"):
            await fetch_text(f"http://127.0.0.1:{port}/other")
    finally:
        await runner.cleanup()
    with pytest.raises(OSError, match="no answer from"):
        await fetch_text(f"http://127.0.0.1:{port}/v4")


async def test_a_metadata_endpoint_that_does_not_answer_is_not_waited_for():
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="it is late"):
            await fetch_text(f"http://127.0.0.1:{port}/stats", within_seconds=0.02)
    for writer in accepted:
        writer.close()
