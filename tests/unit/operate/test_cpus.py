"""CPUs that may be used: the least of what an affinity mask, control groups and an ECS task allow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

import pytest

from consumer.operate.cpus import Cpus, allowed_cpus

V2_UNIT = {
    "/proc/self/cgroup": "0::/system.slice/orders.service\n",
    "/sys/fs/cgroup/system.slice/orders.service/cpu.max": "max 100000\n",
    "/sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
}
V2_CONTAINER = {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "250000 100000\n"}
V1_CONTAINER = {
    "/proc/self/cgroup": "9:name=systemd:/docker/c0\n3:cpuset:/docker/c0\n2:cpu,cpuacct:/docker/c0\n0::/\n",
    # As a container sees it: its own group is the root of what is mounted.
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
ECS = {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/c0/"}
TASK = {
    "Limits": {"CPU": 4.0},
    "Containers": [{"DockerId": "c0", "Limits": {"CPU": 768}}, {"DockerId": "c1", "Limits": {"CPU": 256}}],
}


def reader(files: Mapping[str, str]) -> Callable[[str], str]:
    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return read


def on(files: Mapping[str, str], mask: int = 8, **given: object) -> Cpus:
    """What is allowed on a machine with these files."""
    made = {"environ": {}, "in_affinity_mask": lambda: mask, "read_file": reader(files), **given}
    return allowed_cpus(**made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "count", "who"),
    [
        pytest.param({}, 8.0, "affinity mask", id="no control groups"),
        pytest.param(V2_UNIT, 1.5, "/sys/fs/cgroup/system.slice", id="a slice above the unit has the quota"),
        pytest.param(V2_CONTAINER, 2.5, "/sys/fs/cgroup", id="a container, version 2"),
        pytest.param(V1_CONTAINER, 0.5, "/sys/fs/cgroup/cpu", id="a container, version 1"),
        pytest.param(V2_CONTAINER | {"/sys/fs/cgroup/cpu.max": "max 100000"}, 8.0, "affinity", id="no quota"),
        pytest.param(V2_CONTAINER | {"/sys/fs/cgroup/cpu.max": "9999999 100000"}, 8.0, "affinity", id="a large quota"),
        pytest.param(V2_CONTAINER | {"/sys/fs/cgroup/cpu.max": "soon"}, 8.0, "affinity", id="nonsense"),
        pytest.param(V2_CONTAINER | {"/sys/fs/cgroup/cpu.max": "1 0"}, 8.0, "affinity", id="a period of nothing"),
        pytest.param(
            V1_CONTAINER | {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, 8.0, "affinity", id="version 1 without quota"
        ),
        pytest.param({"/proc/self/cgroup": "nothing of it\n"}, 8.0, "affinity", id="an unknown form"),
    ],
)
def test_the_least_limit_counts_and_is_named(files: Mapping[str, str], count: float, who: str):
    found = on(files)
    assert found.count == count
    assert who in found.because


def test_a_mask_may_be_less_than_a_quota():
    assert on(V2_CONTAINER, mask=2) == Cpus(2.0, "its affinity mask has")


def test_an_ecs_container_has_its_part_of_the_task():
    pages = {"http://169.254.170.2/v4/c0/task": json.dumps(TASK), "http://169.254.170.2/v4/c0": '{"DockerId": "c0"}'}
    assert on({}, environ=ECS, fetch=reader(pages)) == Cpus(3.0, "its ECS task allows")


@pytest.mark.parametrize("page", ["", "[]", "{}", '{"Containers": 7}'])
def test_an_endpoint_that_says_nothing_sensible_limits_nothing(page: str):
    assert on({}, environ=ECS, fetch=lambda url: page).count == 8.0
    assert on({}, environ=ECS, fetch=reader({})).count == 8.0


def test_this_machine_has_an_answer():
    assert 0 < allowed_cpus(environ={}).count <= (os.cpu_count() or 1)
