"""How fast the members of a mixed fleet are told to be, in the KCL's words and in ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT", "QUICK", "Timers"]

_ONE_SCAN_SECONDS: Final = 1.0
# Interpreters, virtual machines and servers share two busy cores: they are slow, whatever the protocol does.
_SLACK_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Timers of a fleet, in seconds. ``lock_seconds`` and ``heartbeat_seconds`` are of a 3.x leader's lock.

    ``patience_seconds`` is how long a step may take at all before the play is given up.
    """

    name: str
    failover_seconds: float
    assignment_seconds: float
    lock_seconds: float
    heartbeat_seconds: float
    patience_seconds: float
    is_default: bool = False

    def python_takeover_seconds(self) -> float:
        """What is promised after the death of any member, with what a busy machine and one scan may add."""
        return 3 * self.failover_seconds + _ONE_SCAN_SECONDS + _SLACK_SECONDS

    def all_python_takeover_seconds(self) -> float:
        """The same where all members are ours."""
        return self.failover_seconds + 2.0 + _SLACK_SECONDS

    def java(self, edition: str) -> Mapping[str, object]:
        """Settings of the KCL by name; none of them for the defaults, which are to be the KCL's own."""
        if self.is_default:
            return {}
        common = {
            "lease.failoverTimeMillis": _millis(self.failover_seconds),
            # Every sync of shards, also the one at the start, is followed by a sleep of this length.
            "lease.shardSyncIntervalMillis": 1000,
            "lease.leasesRecoveryAuditorExecutionFrequencyMillis": 5000,
            "coordinator.parentShardPollIntervalMillis": 500,
            "coordinator.shardConsumerDispatchPollIntervalMillis": 200,
            "polling.idleTimeBetweenReadsInMillis": 250,
        }
        if edition == "kcl-2.7.2":
            return common
        return common | {
            "lease.leaseAssignmentIntervalMillis": _millis(self.assignment_seconds),
            "lease.dynamoDbLockBasedLeaderLeaseDurationInMillis": _millis(self.lock_seconds),
            "lease.dynamoDbLockBasedLeaderHeartbeatPeriodInMillis": _millis(self.heartbeat_seconds),
        }

    def python(self) -> Mapping[str, str]:
        """The environment of a Python member."""
        return {"LEASEHOLD_FAILOVER_SECONDS": f"{self.failover_seconds:g}"}


def _millis(seconds: float) -> int:
    return round(seconds * 1000)


QUICK: Final = Timers(
    name="quick",
    failover_seconds=2.0,
    assignment_seconds=2.0,
    lock_seconds=6.0,
    heartbeat_seconds=2.0,
    patience_seconds=90.0,
)
DEFAULT: Final = Timers(
    name="default",
    failover_seconds=10.0,
    assignment_seconds=20.0,
    lock_seconds=120.0,
    heartbeat_seconds=30.0,
    patience_seconds=300.0,
    is_default=True,
)
