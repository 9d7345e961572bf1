"""A worker's configuration: one frozen value, checked as a whole, from which flags, variables and the README's table are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from consumer.errors import ConfigError

__all__ = ["InitialPosition", "WorkerConfig", "describe_fields"]

PositionKind = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
Checkpointing = Literal["automatic", "manual"]
OnTrimmed = Literal["skip", "stop"]


@dataclass(frozen=True, slots=True)
class InitialPosition:
    """Where a group starts that has no leases yet; used once in a group's life. ``timestamp`` (epoch seconds) only with AT_TIMESTAMP."""

    kind: PositionKind
    timestamp: float | None = None

    @classmethod
    def parse(cls, text: str) -> InitialPosition:
        """From ``TRIM_HORIZON``, ``LATEST`` or ``AT_TIMESTAMP=2026-11-20T08:00:00Z``. Raises ConfigError naming the three forms."""
        kind, equals, stamp = text.partition("=")
        if kind == "AT_TIMESTAMP" and equals:
            try:
                instant = datetime.fromisoformat(stamp)
            except ValueError:
                raise ConfigError(
                    f"--initial-position: {stamp!r} is not an ISO-8601 time; write AT_TIMESTAMP=2026-11-20T08:00:00Z."
                ) from None
            if instant.tzinfo is None:
                instant = instant.replace(tzinfo=UTC)
            return cls("AT_TIMESTAMP", instant.timestamp())
        if kind in ("TRIM_HORIZON", "LATEST") and not equals:
            return cls(kind)  # type: ignore[arg-type]  # narrowed by the test above, which mypy does not see through `in`
        raise ConfigError(
            f"--initial-position: {text!r} is not a position; it is TRIM_HORIZON (oldest record), LATEST (from now on) or "
            "AT_TIMESTAMP=<ISO-8601 time>."
        )

    def __str__(self) -> str:
        if self.timestamp is None:
            return self.kind
        return f"{self.kind}={datetime.fromtimestamp(self.timestamp, UTC).isoformat()}"


def _setting(default: Any, doc: str, *, unit: str = "", cli: bool = True, parse: Callable[[str], Any] | None = None) -> Any:
    return field(default=default, metadata={"doc": doc, "unit": unit, "cli": cli, "parse": parse})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Everything a worker can be told. All fields are checked together; ConfigError lists every problem at once."""

    app: str = field(metadata={"doc": "Name of the consumer group; workers with one name share the shards.", "unit": "", "cli": True})
    initial_position: InitialPosition = field(
        metadata={
            "doc": "Where a group without leases starts: TRIM_HORIZON, LATEST or AT_TIMESTAMP=ISO-8601. Used once in a group's life.",
            "unit": "",
            "cli": True,
            "parse": InitialPosition.parse,
        }
    )
    lease_table: str | None = _setting(None, "The DynamoDB table that holds the leases (default: the app).")
    create_table: bool = _setting(True, "Create the lease table on first use (on-demand).", cli=False)
    worker_id: str | None = _setting(
        None, "Readable part of this worker's name (default: the ECS task id, else the host); a nonce is always added."
    )
    failover_seconds: float = _setting(10.0, "How long a lease's counter may stand still before others take it.", unit="s")
    max_leases: int | None = _setting(None, "Most shards this worker takes (default: no limit).")
    drain_timeout_seconds: float = _setting(25.0, "How long a stopping worker may take to hand over its shards.", unit="s")
    hand_off_timeout_seconds: float = _setting(
        30.0, "How long a hand-off to a live worker may last before the old owner takes it back.", unit="s", cli=False
    )
    checkpointing: Checkpointing = _setting(
        "automatic", "automatic: a record is done when process_records returns; manual: when you checkpoint it."
    )
    checkpoint_interval_seconds: float = _setting(1.0, "At most one automatic checkpoint a shard in this time.", unit="s")
    max_records: int = _setting(1000, "Most records in one call of process_records.")
    idle_wait_seconds: float = _setting(1.0, "Longest pause between reads of a shard that has nothing new.", unit="s")
    on_trimmed: OnTrimmed = _setting(
        "skip", "When unread records are gone: skip goes on at the oldest, stop leaves the shard unread until somebody decides."
    )
    prefetch_bytes: int = _setting(
        64 * 1024 * 1024, "Bytes that pages read ahead may hold in the whole worker, beyond one page a shard.", unit="B", cli=False
    )
    processor_threads: int = _setting(32, "Threads for `def` processors; one batch of a shard at a time.", cli=False)
    retry_limit_seconds: float = _setting(60.0, "Longest pause before a failed callback is tried again.", unit="s", cli=False)
    stuck_after_seconds: float = _setting(60.0, "A shard without progress for this long fails /healthz.", unit="s", cli=False)
    audit_interval_seconds: float = _setting(
        30.0, "Pause between two comparisons of the stream's shards with the leases, by one worker of the fleet.", unit="s", cli=False
    )
    child_wait_seconds: float = _setting(
        15.0, "How long a shard's end waits for its children to be listed before the audit takes over.", unit="s", cli=False
    )
    scan_read_units_per_second: float = _setting(
        50.0, "Read units that the fleet's scans of the lease table may use; the scan period follows from it.", unit="RCU/s", cli=False
    )

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise ConfigError(problems)

    def _problems(self) -> list[str]:
        found = []

        def check(ok: bool, name: str, sentence: str) -> None:
            if not ok:
                found.append(f"{name}={getattr(self, name)!r}: {sentence}")

        check(bool(self.app), "app", "the app needs a name; workers that share it share the shards.")
        check(
            self.lease_table is None or 3 <= len(self.lease_table) <= 255,
            "lease_table",
            "a DynamoDB table's name has 3 to 255 characters.",
        )
        check(
            self.lease_table is not None or 3 <= len(self.app) <= 255,
            "app",
            "the lease table is named after the app, and a DynamoDB table's name has 3 to 255 characters; give --lease-table.",
        )
        check(1.0 <= self.failover_seconds <= 3600.0, "failover_seconds", "must lie between 1 and 3600 s.")
        check(self.max_leases is None or self.max_leases >= 1, "max_leases", "must be at least 1, or left out for no limit.")
        check(1.0 <= self.drain_timeout_seconds <= 3600.0, "drain_timeout_seconds", "must lie between 1 and 3600 s.")
        check(0.1 <= self.hand_off_timeout_seconds <= 3600.0, "hand_off_timeout_seconds", "must lie between 0.1 and 3600 s.")
        check(self.checkpointing in get_args(Checkpointing), "checkpointing", "is automatic or manual.")
        check(0.0 <= self.checkpoint_interval_seconds <= 3600.0, "checkpoint_interval_seconds", "must lie between 0 and 3600 s.")
        check(1 <= self.max_records <= 10_000, "max_records", "must lie between 1 and 10,000, the most a Kinesis read returns.")
        check(0.25 <= self.idle_wait_seconds <= 60.0, "idle_wait_seconds", "must lie between 0.25 (DynamoDB and Kinesis limit reads) and 60 s.")
        check(self.on_trimmed in get_args(OnTrimmed), "on_trimmed", "is skip or stop.")
        check(self.prefetch_bytes >= 0, "prefetch_bytes", "must not be negative.")
        check(1 <= self.processor_threads <= 1000, "processor_threads", "must lie between 1 and 1000.")
        check(self.retry_limit_seconds > 0, "retry_limit_seconds", "must be above 0.")
        check(self.stuck_after_seconds > 0, "stuck_after_seconds", "must be above 0.")
        check(self.audit_interval_seconds >= 1, "audit_interval_seconds", "must be at least 1 s.")
        check(self.child_wait_seconds >= 0, "child_wait_seconds", "must not be negative.")
        check(self.scan_read_units_per_second > 0, "scan_read_units_per_second", "must be above 0.")
        check(
            self.initial_position.timestamp is None or self.initial_position.timestamp > 0,
            "initial_position",
            "the time must lie after 1970.",
        )
        return found

    @property
    def table(self) -> str:
        """The lease table's name."""
        return self.lease_table or self.app


def describe_fields() -> list[Mapping[str, Any]]:
    """One mapping a field: name, default, unit, doc, cli, parse; the README's table and the flags are made from it."""
    return [{"name": each.name, "default": each.default, **each.metadata} for each in fields(WorkerConfig)]
