"""The contenders in Java: the KCL 3.5.1 as a whole consumer, and loops over the SDK's synchronous clients.

Their sources stand beside the peer of the mixed-fleet tests (``tests/integration/kcl/peer``) and are built with it. The
virtual machine has its defaults: its own choice of collector and heap, and the optimizing compiler, for which each
contender reads for ``warm_cpu_seconds`` before its first turn. CBOR and HTTP clients are the SDK's defaults, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.benchmarks.contenders.registry import Contender, Course, Places
from tests.integration.kcl.java import JavaMissing, build, check_tools, java

__all__ = ["JAVA"]

_EDITION: Final = "kcl-3.5.1"
_QUIET: Final = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
_WARM_CPU_SECONDS: Final = 45.0  # the KCL is flat after some 60
_WARM_LOOP_CPU_SECONDS: Final = 20.0
# An empty table's first lease is assigned after up to two minutes with the KCL's own timers; with these, after half.
_KCL_START_SECONDS: Final = 150.0
_KCL: Final[Mapping[str, object]] = {
    # Leases and the leader's lock have to outlast the turns of all others.
    "lease.failoverTimeMillis": 600_000,
    "lease.dynamoDbLockBasedLeaderLeaseDurationInMillis": 600_000,
    "lease.leaseAssignmentIntervalMillis": 5000,
    "lease.shardSyncIntervalMillis": 1000,
    # The least that it allows: five reads a second and shard.
    "polling.idleTimeBetweenReadsInMillis": 200,
}


def _missing() -> str | None:
    try:
        check_tools()
    except JavaMissing as error:
        return str(error)
    return None


def _contender(mode: str) -> Callable[[Course, Places], list[str]]:
    def command(course: Course, places: Places) -> list[str]:
        """Raises JavaMissing, NotBuilt."""
        build(_EDITION)
        flags = {
            "--mode": course.service if mode == "loop" else mode,
            "--counter": str(places.counter),
            "--stream": course.address,
            "--stream-endpoint": places.canned_url,
            "--touch": course.touch,
        }
        if mode == "kcl":
            flags |= {"--app": f"kcl-{course.name}", "--worker": "kcl", "--table-endpoint": places.ministack_url}
        told = [word for name, value in flags.items() for word in (name, value)]
        if mode == "kcl":
            told += [word for name, value in _KCL.items() for word in ("--set", f"{name}={value}")]
        return java(_EDITION, _QUIET, "leasehold.peer.Contender", told)

    return command


JAVA: Final = (
    Contender(
        "kcl",
        "the Java KCL 3.5.1",
        ("payload",),
        _contender("kcl"),
        missing=_missing,
        start_seconds=_KCL_START_SECONDS,
        turn_factor=3.0,
        warm_cpu_seconds=_WARM_CPU_SECONDS,
        tables_in="ministack",
    ),
    Contender(
        "java-sdk",
        "a loop on the Java SDK 2",
        ("untouched", "images", "payload"),
        _contender("loop"),
        missing=_missing,
        warm_cpu_seconds=_WARM_LOOP_CPU_SECONDS,
    ),
)
