"""CPU in use, in percent of what this process may use: where to look, how to read it, and the reader that does.

Places, their order and the formulas are those of the Java KCL 3.5 (its worker metrics), so that a Java leader compares
like with like: the ECS task metadata endpoint v4 where ECS names one, the control group of a Kubernetes pod, else
the whole machine in ``/proc/stat``. Each place holds counters that only grow; what was used between two readings is
exact however far these are apart, so one every few seconds is enough where the KCL takes one a second.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from consumer.clock import Clock

__all__ = [
    "CpuReader",
    "CpuReading",
    "MachineCpu",
    "cgroup_v1_reading",
    "cgroup_v2_reading",
    "cpus_in",
    "ecs_limit",
    "ecs_reading",
    "fetch_text",
    "percent_between",
    "proc_stat_reading",
]

_log = logging.getLogger("leasehold.cpu")

_ECS_VARIABLES: Final = ("ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI")
_POD_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_CGROUP: Final = "/sys/fs/cgroup"
_CGROUP_V1: Final = (
    "cpuacct/cpuacct.usage",
    "cpu/cpu.cfs_quota_us",
    "cpu/cpu.cfs_period_us",
    "cpuset/cpuset.effective_cpus",
)
_CGROUP_V2: Final = ("cpu.stat", "cpu.max", "cpuset.cpus.effective")
_FETCH_SECONDS: Final = 1.0
_LARGEST_REPLY_BYTES: Final = 1024 * 1024


class CpuReader(Protocol):
    """Measures CPU; what it gives is published for leaders that plan by it."""

    async def read(self) -> float | None:
        """Percent (0 to 100) of the CPU at hand used since the reading before; None where that can't be told."""
        ...


@dataclass(frozen=True, slots=True)
class CpuReading:
    """Counters at one instant: ``used`` CPU time and ``passed`` time in one unit, and how many CPUs may be used."""

    used: float
    passed: float
    limit: float


def percent_between(before: CpuReading, after: CpuReading) -> float | None:
    """Percent of the limit used from one reading to the next, at most 100; None where the counters tell nothing."""
    used, passed = after.used - before.used, after.passed - before.passed
    if not math.isfinite(used + passed) or min(used, passed) < 0 or after.limit <= 0 or used == passed == 0:
        return None  # they began anew, or stand still: the same reply twice
    if passed == 0:
        return 100.0  # as the KCL: nothing but this container ran
    return min(100.0, 100.0 * used / (passed * after.limit))


def proc_stat_reading(text: str) -> CpuReading:
    """The machine, from ``/proc/stat``: user (with nice), system, idle and iowait of the first line; idle is unused."""
    name, *fields = text.partition("\n")[0].split()
    if name != "cpu" or len(fields) < 5:
        raise ValueError("the first line of /proc/stat does not tell user, system, idle and iowait")
    user, nice, system, idle, waiting = (int(field) for field in fields[:5])
    total = user + nice + system + idle + waiting
    return CpuReading(used=total - idle, passed=total, limit=1.0)


def cgroup_v2_reading(seconds: float, cpu_stat: str, cpu_max: str, cpuset: str) -> CpuReading:
    """A control group of version 2: ``cpu.stat``, ``cpu.max`` and ``cpuset.cpus.effective``, read at ``seconds``."""
    used = int(dict(line.split() for line in cpu_stat.splitlines())["usage_usec"])
    quota, period = cpu_max.split()
    limit = cpus_in(cpuset) if quota == "max" else int(quota) / int(period)
    return CpuReading(used=used / 1e6, passed=seconds, limit=limit)


def cgroup_v1_reading(seconds: float, usage: str, quota: str, period: str, cpuset: str) -> CpuReading:
    """Control groups of version 1: ``cpuacct.usage`` in nanoseconds, the CFS quota (-1: none) and its period."""
    limit = cpus_in(cpuset) if int(quota) < 0 else int(quota) / int(period)
    return CpuReading(used=int(usage) / 1e9, passed=seconds, limit=limit)


def cpus_in(cpuset: str) -> float:
    """How many CPUs a list such as ``0-3,8`` names."""
    ranges = [[int(end) for end in part.split("-")] for part in cpuset.strip().split(",")]
    return float(sum(ends[-1] - ends[0] + 1 for ends in ranges))


def ecs_limit(task: Mapping[str, Any], container: Mapping[str, Any], online_cpus: float) -> float:
    """How many CPUs are this container's: the task's limit (else all) times its part of the task's CPU shares.

    Where no container has shares (Fargate reports 0 where none were asked for) the whole limit is open to each.
    """
    task_limit = float(task.get("Limits", {}).get("CPU") or online_cpus)
    shares = {each.get("DockerId"): float(each.get("Limits", {}).get("CPU") or 0) for each in task["Containers"]}
    total = sum(shares.values())
    # 2 is what the ECS agent gives a container that asks for nothing.
    return task_limit if total == 0 else task_limit * shares.get(container.get("DockerId"), 2.0) / total


def ecs_reading(stats: Mapping[str, Any], limit: float) -> CpuReading:
    """A container by ECS task metadata v4 (``/stats``), in nanoseconds; ``limit`` as of ``ecs_limit``."""
    cpu = stats["cpu_stats"]
    # The system's counter adds up all CPUs, the container's counts each CPU it had.
    passed = float(cpu["system_cpu_usage"]) / float(cpu["online_cpus"])
    return CpuReading(used=float(cpu["cpu_usage"]["total_usage"]), passed=passed, limit=limit)


async def fetch_text(url: str, *, within_seconds: float = _FETCH_SECONDS) -> str:
    """The text at a metadata endpoint, past every proxy. Raises OSError, also where no answer comes in time."""
    timeout = aiohttp.ClientTimeout(total=within_seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False, raise_for_status=True) as session,
            session.get(url, allow_redirects=False) as reply,
        ):
            return (await reply.content.read(_LARGEST_REPLY_BYTES)).decode()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"no answer from {url}: {str(error) or 'it is late'}") from error


def _read_file(path: str) -> str:
    return Path(path).read_text()


class MachineCpu:
    """The ``CpuReader`` of this machine or container. Environment, files, HTTP and clock come in by the constructor.

    The first reading tells nothing, nor does one that fails; why is logged once, and again after it had worked.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        environ: Mapping[str, str] = os.environ,
        read_file: Callable[[str], str] = _read_file,
        fetch: Callable[[str], Awaitable[str]] = fetch_text,
    ) -> None:
        self._clock = clock
        self._environ = environ
        self._read_file = read_file
        self._fetch = fetch
        self._before: CpuReading | None = None
        self._ecs_limit: float | None = None
        self._is_told = False

    async def read(self) -> float | None:
        try:
            reading = await self._reading()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # What a place says is not ours: whatever form it has, a worker must not end because of it.
            self._tell(error)
            return None
        self._is_told = False
        before, self._before = self._before, reading
        return None if before is None else percent_between(before, reading)

    async def _reading(self) -> CpuReading:
        if any(self._environ.get(name) for name in _ECS_VARIABLES):
            return await self._ecs(self._environ[_ECS_VARIABLES[0]].rstrip("/"))
        if self._text(_POD_TOKEN) is None:
            return proc_stat_reading(self._read_file("/proc/stat"))
        seconds = self._clock.monotonic()
        if self._text(f"{_CGROUP}/cgroup.controllers") is not None:
            return cgroup_v2_reading(seconds, *(self._read_file(f"{_CGROUP}/{name}") for name in _CGROUP_V2))
        return cgroup_v1_reading(seconds, *(self._read_file(f"{_CGROUP}/{name}") for name in _CGROUP_V1))

    async def _ecs(self, root: str) -> CpuReading:
        stats = json.loads(await self._fetch(f"{root}/stats"))
        if self._ecs_limit is None:
            task, container = json.loads(await self._fetch(f"{root}/task")), json.loads(await self._fetch(root))
            self._ecs_limit = ecs_limit(task, container, float(stats["cpu_stats"]["online_cpus"]))
        return ecs_reading(stats, self._ecs_limit)

    def _text(self, path: str) -> str | None:
        try:
            return self._read_file(path)
        except OSError:
            return None

    def _tell(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            _log.info(
                "The CPU in use can't be measured here, so a leader plans for this worker by throughput: %s: %s",
                type(error).__name__,
                error,
            )
