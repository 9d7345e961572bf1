"""A worker's configuration: one frozen value, checked as a whole; flags, variables and README table come from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from consumer.delivery_settings import AT_ODDS, DeliverySettings
from consumer.errors import ConfigError
from consumer.setting import Odds, Problem, describe, judge, number, seconds, setting, truth, whole

if TYPE_CHECKING:
    from consumer.leasing.table_mode import Coordination

__all__ = ["DataPath", "InitialPosition", "WorkerConfig", "describe_fields", "find_problems"]

PositionKind = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
Checkpointing = Literal["automatic", "manual"]
OnTrimmed = Literal["skip", "stop"]
DataPath = Literal["auto", "plain"]
PublishedMetrics = Literal["auto", "none"]


@dataclass(frozen=True, slots=True)
class InitialPosition:
    """Where a group without leases starts, once in its life. ``timestamp`` (epoch seconds) only with AT_TIMESTAMP."""

    kind: PositionKind
    timestamp: float | None = None

    @classmethod
    def parse(cls, text: str) -> InitialPosition:
        """From TRIM_HORIZON, LATEST or AT_TIMESTAMP=2026-11-20T08:00:00Z. Raises ConfigError naming the three forms."""
        kind, equals, stamp = text.partition("=")
        if kind == "AT_TIMESTAMP" and equals:
            try:
                instant = datetime.fromisoformat(stamp)
                # In UTC, an instant at either end of the calendar may have no date any more: OverflowError.
                instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
            except (ValueError, OverflowError):
                raise ConfigError(
                    f"{stamp!r} is not an ISO-8601 time; write AT_TIMESTAMP=2026-11-20T08:00:00Z."
                ) from None
            return cls("AT_TIMESTAMP", instant.timestamp())
        if not equals:
            if kind == "TRIM_HORIZON":
                return cls("TRIM_HORIZON")
            if kind == "LATEST":
                return cls("LATEST")
        raise ConfigError(
            f"{text!r} is not a position; it is TRIM_HORIZON (oldest record), LATEST (from now on) or "
            "AT_TIMESTAMP=<ISO-8601 time>."
        )

    def __str__(self) -> str:
        if self.timestamp is None:
            return self.kind
        return f"{self.kind}={datetime.fromtimestamp(self.timestamp, UTC).isoformat()}"


_TABLE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)
_TABLE_NAME_RULE: Final = "a DynamoDB table's name is 3 to 255 letters, digits, '_', '-' or '.'"
_WORKER_NAME: Final = re.compile(r"[\x21-\x7e]{1,128}")


def _check_app(name: str) -> str | None:
    return None if name else "the app needs a name; workers that share it share the shards."


def _check_table(name: str) -> str | None:
    return None if _TABLE_NAME.fullmatch(name) else f"{_TABLE_NAME_RULE}."


def _check_worker(name: str) -> str | None:
    if _WORKER_NAME.fullmatch(name):
        return None
    return "a worker's name is 1 to 128 printable ASCII characters without blanks."


def _check_position(position: object) -> str | None:
    if not isinstance(position, InitialPosition):
        return "is not an InitialPosition; write InitialPosition.parse('TRIM_HORIZON')."
    if position.timestamp is not None and position.timestamp <= 0:
        return "the time must lie after 1970."
    return None


def _shown_position(position: object) -> str:
    return str(position) if isinstance(position, InitialPosition) else repr(position)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig(DeliverySettings):
    """Everything a worker can be told. All fields are checked together; ConfigError lists every problem at once."""

    app: str = setting(MISSING, "Name of the consumer group; workers with one name share the shards.", check=_check_app)
    initial_position: InitialPosition = setting(
        MISSING,
        "Where a group without leases starts, once: TRIM_HORIZON, LATEST or AT_TIMESTAMP=ISO-8601.",
        parse=InitialPosition.parse,
        check=_check_position,
        show=_shown_position,
    )
    lease_table: str | None = setting(
        None,
        "The DynamoDB table that holds the leases of this app and of no other (default: the app).",
        check=_check_table,
    )
    create_table: bool = setting(True, "Create the lease table on first use (on-demand).", cli=False, parse=truth)
    worker_id: str | None = setting(
        None,
        "Readable part of this worker's name (default: the ECS task id, else the host); a nonce is always added.",
        check=_check_worker,
    )
    failover_seconds: float = seconds(
        10.0, 1, 3600, "How long a lease's counter may stand still before others take it."
    )
    max_leases: int | None = setting(
        None, "Most shards this worker owns at once (default: no limit).", parse=whole, between=(1, 100_000)
    )
    coordination: Coordination = setting(
        "auto",
        "auto: by what the lease table's rows tell. leader: one worker plans for all, also where no KCL asks for it. "
        "2x: keep a new table fit for a KCL 2.x.",
        choices=("auto", "leader", "2x"),
    )
    worker_metrics: PublishedMetrics = setting(
        "auto",
        "auto: publish this worker's CPU in its row, for a leader that balances by load. none: publish none, and the "
        "leader goes by throughput.",
        choices=("auto", "none"),
    )
    drain_timeout_seconds: float = seconds(
        25.0, 1, 3600, "How long a stopping worker may take to hand over its shards."
    )
    hand_off_timeout_seconds: float = seconds(
        30.0, 0.1, 3600, "How long a hand-off to a live worker may last before the old owner takes it back.", cli=False
    )
    checkpointing: Checkpointing = setting(
        "automatic",
        "automatic: a record is done when process_records returns; manual: when you checkpoint it.",
        choices=("automatic", "manual"),
    )
    checkpoint_interval_seconds: float = seconds(1.0, 0, 3600, "At most one automatic checkpoint a shard in this time.")
    idle_wait_seconds: float = seconds(1.0, 0.25, 60, "Longest pause between reads of a shard that has nothing new.")
    on_trimmed: OnTrimmed = setting(
        "skip",
        "When unread records are gone: skip goes on at the oldest, stop leaves the shard unread until you decide.",
        choices=("skip", "stop"),
    )
    data_path: DataPath = setting(
        "auto",
        "auto: read pages over connections of our own where all that botocore would send is known, else through "
        "botocore. plain: through botocore only.",
        choices=("auto", "plain"),
    )
    prefetch_bytes: int = setting(
        64 * 1024 * 1024,
        "Bytes of pages read ahead in the whole worker, beyond one a shard; images that are read take more.",
        unit="B",
        cli=False,
        parse=whole,
        between=(0, 2**40),
    )
    processor_threads: int = setting(
        32, "Threads for `def` processors; one batch of a shard at a time.", cli=False, parse=whole, between=(1, 1000)
    )
    retry_limit_seconds: float = seconds(
        60.0, 0.001, 3600, "Longest pause before a failed callback is tried again.", cli=False
    )
    stuck_after_seconds: float = seconds(
        60.0, 0.001, 86_400, "A shard without progress for this long fails /healthz.", cli=False
    )
    audit_interval_seconds: float = seconds(
        30.0,
        1,
        3600,
        "Pause between two comparisons of the stream's shards with the leases, by one worker of the fleet.",
        cli=False,
    )
    child_wait_seconds: float = seconds(
        15.0,
        0,
        3600,
        "How long a shard's end waits for its children to be listed before the audit takes over.",
        cli=False,
    )
    scan_read_units_per_second: float = setting(
        50.0,
        "Read units that the fleet's scans of the lease table may use; the scan period follows from it.",
        unit="RCU/s",
        cli=False,
        parse=number,
        between=(0.5, 40_000),
    )

    def __post_init__(self) -> None:
        problems = find_problems({each.name: getattr(self, each.name) for each in fields(self)})
        if problems:
            raise ConfigError([f"{each.name}={each.value}: {each.sentence}" for each in problems])

    @property
    def table(self) -> str:
        """The lease table's name."""
        return self.lease_table or self.app


# What every worker is told first, then how it delivers.
_OWN: Final = set(WorkerConfig.__annotations__)
_SETTINGS: Final = sorted(fields(WorkerConfig), key=lambda each: each.name not in _OWN)

_AT_ODDS: Final = (
    Odds(
        ("app", "lease_table"),
        lambda app, table: table is None and not _TABLE_NAME.fullmatch(app),
        f"the lease table is named after it, and {_TABLE_NAME_RULE}; rename it, or name the lease table.",
    ),
    Odds(
        ("stuck_after_seconds", "idle_wait_seconds"),
        lambda stuck, idle: stuck <= 2 * idle,
        "must be more than twice idle_wait_seconds ({idle_wait_seconds:g} s), or every quiet shard would be reported "
        "as stuck.",
    ),
    *AT_ODDS,
)


def find_problems(values: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with ``values`` (field to value; absent ones are not judged), in the order of the table."""
    return judge(_SETTINGS, _AT_ODDS, values)


def describe_fields() -> list[Mapping[str, Any]]:
    """One mapping a field, as ``setting.describe`` has it: the worker's own settings, then those of delivery."""
    return describe(_SETTINGS)
