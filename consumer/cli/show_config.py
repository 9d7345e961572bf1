"""``--show-config``: every value with its origin, and what leasing will read and write with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.cli.settings import Settings
from consumer.config import WorkerConfig
from consumer.leasing.timing import LeaseTiming, row_period_seconds, scan_period_seconds, scan_read_units

if TYPE_CHECKING:
    from consumer.cli.processes import ProcessCount

__all__ = ["Cost", "estimate", "led_read_units", "report"]

# On-demand prices of us-east-1 since November 2024; elsewhere the order of magnitude holds.
_READ_DOLLARS: Final = 0.125e-6
_WRITE_DOLLARS: Final = 0.625e-6
_MONTH_SECONDS: Final = 30 * 86_400
# A DynamoDB shard is closed every 4 h or so, and its row stays until the stream forgets it after 24 h.
_FINISHED_DYNAMODB_SHARDS: Final = 6
# Looks at the leader's lock are drawn from half a period to a whole one; each is one unit, the index is asked for half.
_LOCK_UNITS_A_PERIOD: Final = 1 / 0.75
_INDEX_UNITS_A_PERIOD: Final = 0.5
_FLEETS: Final = ((10, 2), (100, 4), (1_000, 10), (10_000, 20))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fleet's leasing does: seconds between one worker's scans; units a second and dollars a month of all.

    ``rows`` counts finished shards and workers, too. ``takeover_seconds``: the longest that a dead one's shards wait.
    """

    rows: int
    scan_period_seconds: float
    takeover_seconds: float
    read_units_per_second: float
    scan_dollars: float
    renewal_dollars: float


def estimate(config: WorkerConfig, shards: int, workers: int, *, finished: int = 0) -> Cost:
    """For ``workers`` over ``shards`` open shards, each with rows of ``finished`` ones that went before it.

    Scans by the fleet's budget, renewals of open shards that store nothing meanwhile, the workers' own rows.
    """
    timing = LeaseTiming(config.failover_seconds)
    rows = shards * (1 + finished) + workers
    period = scan_period_seconds(rows, workers, config.scan_read_units_per_second)
    units = scan_read_units(rows) * workers / period
    writes = shards / timing.renew_seconds + workers / timing.beat_seconds
    return Cost(
        rows,
        period,
        timing.takeover_seconds(period),
        units,
        units * _MONTH_SECONDS * _READ_DOLLARS,
        writes * _MONTH_SECONDS * _WRITE_DOLLARS,
    )


def led_read_units(config: WorkerConfig, workers: int) -> float:
    """Read units a second of one worker, besides scans, where a leader plans: for its lock, and what is assigned."""
    period = row_period_seconds(workers, config.scan_read_units_per_second)
    return (_LOCK_UNITS_A_PERIOD + _INDEX_UNITS_A_PERIOD) / period


def report(processor: str, settings: Settings, processes: ProcessCount | None = None) -> Iterable[str]:
    """The lines to print. ``processes``: what ``--processes`` comes to, where it is given."""
    rows = [("processor", processor, "argument")]
    rows += [(name, _shown(setting.value), setting.origin) for name, setting in settings.values.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        yield f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}"
    config = settings.config()
    yield ""
    if processes is not None:
        yield _on_this_machine(processes, config)
        yield ""
    yield (
        "Each worker scans the lease table once a scan period, max(1 s, what keeps the fleet's scans within "
        f"{config.scan_read_units_per_second:g} read units/s), and renews each lease every "
        f"{LeaseTiming(config.failover_seconds).renew_seconds:.1f} s:"
    )
    yield "  shards  workers    rows  scan period  takeover  scans, RCU/s  scans, USD/month  renewals, USD/month"
    finished = _FINISHED_DYNAMODB_SHARDS if "dynamodb:" in str(settings.values["source"].value) else 0
    for shards, workers in _FLEETS:
        cost = estimate(config, shards, workers, finished=finished)
        yield (
            f"  {shards:>6}  {workers:>7}  {cost.rows:>6}  {cost.scan_period_seconds:>9.1f} s"
            f"  {cost.takeover_seconds:>6.0f} s  {cost.read_units_per_second:>12.1f}"
            f"  {cost.scan_dollars:>16.2f}  {cost.renewal_dollars:>19.2f}"
        )
    yield (
        f"Rows: {finished} of finished shards for each open one, and the workers'. Takeover: the longest that a dead "
        "worker's shards wait."
    )
    units = led_read_units(config, 1)
    yield (
        "Under a leader (in a KCL 3.x's table, or with --coordination leader) each worker also reads the lock and the "
        f"index by owner: at most {units:.1f} read units/s, {units * _MONTH_SECONDS * _READ_DOLLARS:.2f} USD/month."
    )
    yield "Prices: on-demand in us-east-1; checkpoints and the stream's own reads are not in them."


def _on_this_machine(processes: ProcessCount, config: WorkerConfig) -> str:
    count = processes.count
    if count == 1:
        return f"One worker process on this machine ({processes.because}), without a supervisor."
    leases = "" if config.max_leases is None else f"{count * config.max_leases:,} leases and "
    return (
        f"{count} worker processes on this machine ({processes.because}), each a worker of its own with all of the "
        f"above: max_leases, prefetch_bytes and processor_threads hold for each, {leases}"
        f"{count * config.prefetch_bytes / 2**20:,.0f} MiB read ahead for all."
    )


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
