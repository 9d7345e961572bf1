"""The durations of leasing, derived from the failover time, and the scan period, derived from what scans may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = [
    "LeaseTiming",
    "grace_seconds",
    "notice_seconds",
    "row_period_seconds",
    "scan_period_seconds",
    "scan_read_units",
]

_SHORTEST_SCAN_PERIOD_SECONDS: Final = 1.0
_ROW_BYTES: Final = 600
_READ_UNIT_BYTES: Final = 4096
_LONGEST_NOTICE_SECONDS: Final = 10.0
_LONGEST_BEAT_SECONDS: Final = 20.0
_KCL_HAND_OFF_SECONDS: Final = 30.0
_KCL_DISCOVERY_SECONDS: Final = 10.0
# What lies between a reply given up on and the next attempt: a read that settles it, or a pause.
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """What follows from ``failover_seconds`` (F): after F without a move of its counter a lease may be taken by others.

    ``margin_seconds``: what trust gives up for clocks that drift (1 % at most) and for a slice of user code begun in
    trust. ``trust_seconds``: how long after the *send* of its last successful write a worker acts as owner.
    ``renew_seconds``: a little more than F/2, so that a checkpoint every F comes before the second renewal is due and
    stands for it, yet early enough for one that is lost to be sent once more, whole. ``gather_seconds``: how much later
    than due a renewal may go, for others to come along. ``beat_seconds``: F/3. ``look_seconds``: how old a look at the
    table may be and still bear witness that nothing moved; one in the last third of F shows whether the owner has
    missed a renewal. ``call_seconds``: the longest one lease call may take before its reply counts as lost.
    ``lock_seconds``: what our leader's lock states as its duration; shorter than F, so that after a leader's death the
    next one leads before the dead one's leases are free. ``lock_trust_seconds``: how long after the *send* of its last
    heartbeat a leader plans.
    """

    failover_seconds: float

    @property
    def margin_seconds(self) -> float:
        return max(0.5, 0.1 * self.failover_seconds)

    @property
    def trust_seconds(self) -> float:
        return self.failover_seconds - self.margin_seconds

    @property
    def renew_seconds(self) -> float:
        # Trust is too short for two calls where F is below 2 s; then one must do.
        for_two = self.gather_seconds + 2 * self.call_seconds + _PAUSE_SECONDS
        return max(self.failover_seconds / 4, min(0.525 * self.failover_seconds, self.trust_seconds - for_two))

    @property
    def gather_seconds(self) -> float:
        return self.failover_seconds / 40

    @property
    def lock_seconds(self) -> float:
        return round(0.9 * self.failover_seconds, 3)

    @property
    def lock_heartbeat_seconds(self) -> float:
        return self.failover_seconds / 4

    @property
    def lock_trust_seconds(self) -> float:
        return self.lock_seconds - max(0.1, 0.1 * self.lock_seconds)

    @property
    def kcl_hand_off_seconds(self) -> float:
        """How long a hand-off with a KCL may take: its workers give a batch 30 s to end, and its leader F more."""
        return _KCL_HAND_OFF_SECONDS + self.failover_seconds

    @property
    def kcl_discovery_seconds(self) -> float:
        """How late a KCL's first renewal of a lease that it was given may come.

        It asks what it owns every half of its assignment interval (2 F; so 10 s by default), writes nothing to accept a
        lease, and renews within ``kcl_renew_seconds``.
        """
        return max(_KCL_DISCOVERY_SECONDS, self.failover_seconds) + self.kcl_renew_seconds

    @property
    def kcl_renew_seconds(self) -> float:
        """How often a KCL renews each lease, whatever it has checkpointed."""
        return self.failover_seconds / 3

    @property
    def slow_hand_off_seconds(self) -> float:
        """A hand-off this old waits for a long batch: its owner had a renewal's time to learn of it, and 3 s more."""
        return self.renew_seconds + 3.0

    @property
    def beat_seconds(self) -> float:
        """A KCL's leader gives nothing to a worker whose row is 60 s old by its clock, whatever the failover time."""
        return min(self.failover_seconds / 3, _LONGEST_BEAT_SECONDS)

    @property
    def look_seconds(self) -> float:
        return max(_SHORTEST_SCAN_PERIOD_SECONDS, self.failover_seconds / 3)

    def takeover_seconds(self, scan_period_seconds: float) -> float:
        """Within how long of a worker's death its leases are elsewhere, where peers scan at that period.

        Its last move may be seen a period late, the look that shows its silence may be due a period less
        ``look_seconds`` after F, and whoever is not meant to take waits for who is.
        """
        late = max(0.0, scan_period_seconds - self.look_seconds)
        return self.failover_seconds + scan_period_seconds + late + grace_seconds(scan_period_seconds)

    @property
    def call_seconds(self) -> float:
        return min(2.0, max(0.25, self.failover_seconds / 6))


def grace_seconds(scan_period_seconds: float) -> float:
    """How long at most a free lease is left to the peer whose it is by plan: it looks within a period, or late."""
    return 2 * scan_period_seconds - 1.0


def notice_seconds(scan_period_seconds: float) -> float:
    """Within how long one of our workers has noticed a row that names it, by its next look: ten seconds are enough."""
    return min(_LONGEST_NOTICE_SECONDS, 1.2 * scan_period_seconds + 0.2)


def scan_read_units(rows: int) -> float:
    """What one eventually consistent scan costs: half a read unit for each 4 KiB, a row being reckoned at 600 bytes."""
    return 0.5 * max(1, math.ceil(rows * _ROW_BYTES / _READ_UNIT_BYTES))


def scan_period_seconds(rows: int, workers: int, read_units_per_second: float) -> float:
    """How long a worker waits between scans, so that the scans of all live workers fit the budget; at least 1 s."""
    return max(_SHORTEST_SCAN_PERIOD_SECONDS, max(1, workers) * scan_read_units(rows) / read_units_per_second)


def row_period_seconds(workers: int, read_units_per_second: float) -> float:
    """How long a worker waits between consistent reads of one row (a unit each), by the same budget; at least 1 s."""
    return max(_SHORTEST_SCAN_PERIOD_SECONDS, workers / read_units_per_second)
