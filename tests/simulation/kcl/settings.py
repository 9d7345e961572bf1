"""How a simulated KCL worker is set up: the settings that decide its times, under the KCL's defaults."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KclSettings"]


@dataclass(frozen=True, slots=True)
class KclSettings:
    """Durations in seconds; the defaults are those of KCL 3.5.1.

    ``by_count``: the leader levels leases by their number (LEASE_COUNT_BASED), else by load. ``cpu``: the share of its
    processors that the worker reports, None where it reports none. ``legacy``: it is a KCL 3.0 to 3.4, whose lock and
    reports lie in two tables of their own.
    """

    worker_id: str
    failover_seconds: float = 10.0
    assignment_seconds: float = 20.0
    lock_seconds: float = 120.0
    heartbeat_seconds: float = 30.0
    hand_off_seconds: float = 30.0
    report_seconds: float = 30.0
    parents_seconds: float = 10.0
    sync_wait_seconds: float = 30.0
    sync_sleep_seconds: float = 60.0
    cleanup_after_seconds: float = 300.0
    audit_seconds: float = 120.0
    request_seconds: float = 60.0
    balance_every: int = 3
    max_leases: int | None = None
    by_count: bool = False
    cpu: float | None = None
    legacy: bool = False

    @property
    def renew_seconds(self) -> float:
        """Between renewals: a third of the failover time, less what the KCL calls epsilon."""
        return self.failover_seconds / 3 - 0.025

    @property
    def discovery_seconds(self) -> float:
        return self.assignment_seconds / 2 - 0.025

    @property
    def taker_seconds(self) -> float:
        """Between two passes of the 2.x taker."""
        return 2 * (self.failover_seconds + 0.025)
