"""A worker's configuration: one frozen value, checked as a whole; flags, variables and README table come from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from consumer.errors import ConfigError

if TYPE_CHECKING:
    from consumer.leasing.table_mode import Coordination

__all__ = ["DataPath", "InitialPosition", "Problem", "WorkerConfig", "describe_fields", "find_problems", "range_text"]

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


def _text(text: str) -> str:
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number.") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a whole number.") from None


def _setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    cli: bool = True,
    parse: Callable[[str], Any] = _text,
    between: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {"doc": doc, "unit": unit, "cli": cli, "parse": parse, "between": between, "choices": choices}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def _seconds(default: float, low: float, high: float, doc: str, *, cli: bool = True) -> Any:
    return _setting(default, doc, unit="s", cli=cli, parse=_number, between=(low, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Everything a worker can be told. All fields are checked together; ConfigError lists every problem at once."""

    app: str = _setting(MISSING, "Name of the consumer group; workers with one name share the shards.")
    initial_position: InitialPosition = _setting(
        MISSING,
        "Where a group without leases starts, once: TRIM_HORIZON, LATEST or AT_TIMESTAMP=ISO-8601.",
        parse=InitialPosition.parse,
    )
    lease_table: str | None = _setting(
        None, "The DynamoDB table that holds the leases of this app and of no other (default: the app)."
    )
    create_table: bool = _setting(True, "Create the lease table on first use (on-demand).", cli=False)
    worker_id: str | None = _setting(
        None, "Readable part of this worker's name (default: the ECS task id, else the host); a nonce is always added."
    )
    failover_seconds: float = _seconds(
        10.0, 1, 3600, "How long a lease's counter may stand still before others take it."
    )
    max_leases: int | None = _setting(
        None, "Most shards this worker owns at once (default: no limit).", parse=_whole, between=(1, 100_000)
    )
    coordination: Coordination = _setting(
        "auto",
        "auto: by what the lease table's rows tell. leader: one worker plans for all, also where no KCL asks for it. "
        "2x: keep a new table fit for a KCL 2.x.",
        choices=("auto", "leader", "2x"),
    )
    worker_metrics: PublishedMetrics = _setting(
        "auto",
        "auto: publish this worker's CPU in its row, for a leader that balances by load. none: publish none, and the "
        "leader goes by throughput.",
        choices=("auto", "none"),
    )
    drain_timeout_seconds: float = _seconds(
        25.0, 1, 3600, "How long a stopping worker may take to hand over its shards."
    )
    hand_off_timeout_seconds: float = _seconds(
        30.0, 0.1, 3600, "How long a hand-off to a live worker may last before the old owner takes it back.", cli=False
    )
    checkpointing: Checkpointing = _setting(
        "automatic",
        "automatic: a record is done when process_records returns; manual: when you checkpoint it.",
        choices=("automatic", "manual"),
    )
    checkpoint_interval_seconds: float = _seconds(
        1.0, 0, 3600, "At most one automatic checkpoint a shard in this time."
    )
    batch_size: int = _setting(1000, "Most records in one call of process_records.", parse=_whole, between=(1, 10_000))
    idle_wait_seconds: float = _seconds(1.0, 0.25, 60, "Longest pause between reads of a shard that has nothing new.")
    on_trimmed: OnTrimmed = _setting(
        "skip",
        "When unread records are gone: skip goes on at the oldest, stop leaves the shard unread until you decide.",
        choices=("skip", "stop"),
    )
    data_path: DataPath = _setting(
        "auto",
        "auto: read pages over connections of our own where all that botocore would send is known, else through "
        "botocore. plain: through botocore only.",
        choices=("auto", "plain"),
    )
    prefetch_bytes: int = _setting(
        64 * 1024 * 1024,
        "Bytes of pages read ahead in the whole worker, beyond one a shard; images that are read take more.",
        unit="B",
        cli=False,
        parse=_whole,
        between=(0, 2**40),
    )
    processor_threads: int = _setting(
        32, "Threads for `def` processors; one batch of a shard at a time.", cli=False, parse=_whole, between=(1, 1000)
    )
    retry_limit_seconds: float = _seconds(
        60.0, 0.001, 3600, "Longest pause before a failed callback is tried again.", cli=False
    )
    stuck_after_seconds: float = _seconds(
        60.0, 0.001, 86_400, "A shard without progress for this long fails /healthz.", cli=False
    )
    audit_interval_seconds: float = _seconds(
        30.0,
        1,
        3600,
        "Pause between two comparisons of the stream's shards with the leases, by one worker of the fleet.",
        cli=False,
    )
    child_wait_seconds: float = _seconds(
        15.0,
        0,
        3600,
        "How long a shard's end waits for its children to be listed before the audit takes over.",
        cli=False,
    )
    scan_read_units_per_second: float = _setting(
        50.0,
        "Read units that the fleet's scans of the lease table may use; the scan period follows from it.",
        unit="RCU/s",
        cli=False,
        parse=_number,
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


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that can't be used: the field, the value as text, a sentence that names the limit and the way out."""

    name: str
    value: str
    sentence: str


_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)
_TABLE_NAME_RULE = "a DynamoDB table's name is 3 to 255 letters, digits, '_', '-' or '.'"
_IDLE: Final = "idle_wait_seconds"
_WORKER_NAME = re.compile(r"[\x21-\x7e]{1,128}")


def find_problems(values: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with ``values`` (field to value; absent ones are not judged), in the order of the fields."""
    found = []
    for each in fields(WorkerConfig):
        if each.name in values:
            value = values[each.name]
            sentence = (
                _type_problem(value, str(each.type))
                or _range_problem(value, each.metadata)
                or _own_problem(each.name, values)
            )
            if sentence:
                found.append(Problem(each.name, _shown(value), sentence))
    return found


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, InitialPosition) else repr(value)


def range_text(between: tuple[float, float], unit: str) -> str:
    """``1 and 3,600 s``."""
    low, high = (f"{bound:,.3f}".rstrip("0").rstrip(".") for bound in between)
    return f"{low} and {high} {unit}".rstrip()


# The annotation of a field, without "or None", and what that means at run time. The rest have rules of their own.
_KINDS: Final[Mapping[str, tuple[Any, str]]] = {
    "bool": (bool, "True or False"),
    "float": ((int, float), "a number"),
    "int": (int, "a whole number"),
    "str": (str, "text"),
}


def _type_problem(value: Any, annotation: str) -> str | None:
    name = annotation.removesuffix(" | None")
    if name not in _KINDS or (value is None and name != annotation):
        return None
    kind, words = _KINDS[name]
    # To Python, True is a number.
    return None if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) else f"must be {words}."


def _range_problem(value: Any, metadata: Mapping[str, Any]) -> str | None:
    choices, between, unit = metadata["choices"], metadata["between"], metadata["unit"]
    if choices and not (isinstance(value, str) and value in choices):
        return f"is {' or '.join(choices)}."
    if between is None or value is None:
        return None
    if not between[0] <= value <= between[1]:
        return f"must lie between {range_text(between, unit)}."
    return None


def _own_problem(name: str, values: Mapping[str, Any]) -> str | None:
    """What a range can't say: the form of names, and values at odds with another."""
    value = values[name]
    match name:
        case "app" if not value:
            return "the app needs a name; workers that share it share the shards."
        case "app" if values.get("lease_table") is None and not _TABLE_NAME.fullmatch(value):
            return f"the lease table is named after it, and {_TABLE_NAME_RULE}; rename it, or name the lease table."
        case "lease_table" if value is not None and not _TABLE_NAME.fullmatch(value):
            return f"{_TABLE_NAME_RULE}."
        case "worker_id" if value is not None and not _WORKER_NAME.fullmatch(value):
            return "a worker's name is 1 to 128 printable ASCII characters without blanks."
        case "initial_position" if not isinstance(value, InitialPosition):
            return "is not an InitialPosition; write InitialPosition.parse('TRIM_HORIZON')."
        case "initial_position" if value.timestamp is not None and value.timestamp <= 0:
            return "the time must lie after 1970."
        case "stuck_after_seconds" if isinstance(idle := values.get(_IDLE), int | float) and value <= 2 * idle:
            return f"must be more than twice {_IDLE} ({idle:g} s), or every quiet shard would be reported as stuck."
        case _:
            return None


def describe_fields() -> list[Mapping[str, Any]]:
    """One mapping a field; flags, variables and the README's table are made from it.

    Keys: ``name``, ``default`` (dataclasses.MISSING where it is required), ``unit``, ``doc``, ``cli`` (it has a flag),
    ``parse`` (from text; raises ConfigError), ``between``, ``choices``, ``flag``, ``variable``.
    """
    return [
        {
            "name": each.name,
            "default": each.default,
            "flag": "--" + each.name.replace("_", "-"),
            "variable": "LEASEHOLD_" + each.name.upper(),
            **each.metadata,
        }
        for each in fields(WorkerConfig)
    ]
