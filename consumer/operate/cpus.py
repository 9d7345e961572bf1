"""How many CPUs this process may use, and who says so: its affinity mask, its control groups' quotas, its ECS task.

What of them is in use is ``cpu``'s to measure; here the least limit counts. A quota of a control group holds for all
groups below it, so each from the process's own up to the root is looked at (inside a container, the own one is the
root).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["Cpus", "allowed_cpus", "quotas"]

_CGROUP: Final = PurePosixPath("/sys/fs/cgroup")
_ECS_VARIABLES: Final = ("ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI")


@dataclass(frozen=True, slots=True)
class Cpus:
    """``count`` may be a fraction; ``because`` ends the sentence "this process may use ...", naming who limits it."""

    count: float
    because: str


def _read_file(path: str) -> str:
    return Path(path).read_text()


def _fetch(url: str) -> str:
    from consumer.operate.cpu import fetch_text

    return asyncio.run(fetch_text(url))


def _in_affinity_mask() -> int:
    # Not on macOS, where nobody can be kept off a CPU.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed_cpus(
    *,
    environ: Mapping[str, str] = os.environ,
    in_affinity_mask: Callable[[], int] = _in_affinity_mask,
    read_file: Callable[[str], str] = _read_file,
    fetch: Callable[[str], str] = _fetch,
) -> Cpus:
    """The least of what limits this process. A place that can't be read or says nothing sensible limits nothing."""
    limits = [Cpus(float(in_affinity_mask()), "its affinity mask has")]
    limits += quotas(read_file)
    limits += _of_ecs_task(environ, fetch, limits[0].count)
    return min(limits, key=lambda each: each.count)


def quotas(read_file: Callable[[str], str]) -> Iterator[Cpus]:
    """What each control group that this process is in allows, versions 1 and 2."""
    try:
        lines = read_file("/proc/self/cgroup").splitlines()
    except OSError:
        return
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number == "0" and not controllers:
            root, read = _CGROUP, _quota_v2
        elif "cpu" in controllers.split(","):
            root, read = _CGROUP / "cpu", _quota_v1
        else:
            continue
        own = PurePosixPath(path)
        for group in (own, *own.parents):
            folder = root / str(group).lstrip("/")
            try:
                count = read(folder, read_file)
            except (OSError, ValueError, ArithmeticError):
                continue
            if count is not None:
                yield Cpus(count, f"the CPU quota of its control group ({folder}) allows")


def _quota_v2(folder: PurePosixPath, read_file: Callable[[str], str]) -> float | None:
    quota, period = read_file(f"{folder}/cpu.max").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: PurePosixPath, read_file: Callable[[str], str]) -> float | None:
    quota = int(read_file(f"{folder}/cpu.cfs_quota_us"))
    return None if quota < 0 else quota / int(read_file(f"{folder}/cpu.cfs_period_us"))


def _of_ecs_task(environ: Mapping[str, str], fetch: Callable[[str], str], online: float) -> Iterator[Cpus]:
    """ECS limits a task outside of what its containers see of control groups."""
    root = next((environ[name].rstrip("/") for name in _ECS_VARIABLES if environ.get(name)), None)
    if root is None:
        return
    from consumer.operate.cpu import ecs_limit

    try:
        task, container = json.loads(fetch(f"{root}/task")), json.loads(fetch(root))
        yield Cpus(ecs_limit(task, container, online), "its ECS task allows")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return
