"""Faults on demand: what goes wrong, in which calls, how often; and a count of the calls that were made.

The same plan serves the HTTP fronts, the in-memory source and the proxy. A plan is a list of armed ``Fault`` values; a
call takes the first one that fits and answers for it. Probabilities come from the plan's own seeded Random, so a seed
replays a run.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from consumer.testing.service_error import ServiceError
from consumer.testing.stream_rules import FRESH, Staleness

__all__ = ["Call", "Fault", "FaultKind", "FaultPlan", "Mangling"]

# Per operation; older call times are forgotten.
_TIMES_KEPT = 100_000


class FaultKind(StrEnum):
    """What a fault does to a call."""

    ERROR = "error"  # an AWS error in place of the reply
    DELAY = "delay"  # the reply comes late; or the call, where it is not carried out first
    DROP = "drop"  # the connection closes without a reply
    HALF_BODY = "half_body"  # headers and half of the body, then the connection closes
    MALFORMED = "malformed"  # a reply that is JSON but not what the service model says


class Mangling(StrEnum):
    """How a reply is malformed. ``path`` of the fault names the place for the first two."""

    MISSING = "missing"  # the field is not there
    NULL = "null"  # the field is null
    EMPTY_PAGE = "empty_page"  # GetRecords: no records, and an iterator that stands where it stood
    UNKNOWN_FIELDS = "unknown_fields"  # fields that no service model knows, everywhere
    NOT_RECORDS = "not_records"  # GetRecords: null, {} and records without their essentials among the records
    NOT_STRUCTURES = "not_structures"  # GetRecords: text and a number among the records, over which botocore stumbles
    NOT_JSON = "not_json"  # a body that is no JSON at all


@dataclass(frozen=True, slots=True)
class Call:
    """A call as faults see it. ``detail`` is the iterator type of a GetShardIterator, else empty."""

    service: str
    operation: str
    stream: str = ""
    shard_id: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    A call fits when each of ``service`` ("dynamodbstreams", "kinesis", "dynamodb"), ``operation``, ``stream`` (ARN,
    table or stream name), ``shard_id`` and ``detail`` (iterator type) is either unset or the call's. The fault acts
    ``times`` times (None: until cleared), after letting ``skip`` fitting calls pass, each time with ``probability``.
    ``code``, ``message``, ``status``: the error. ``seconds``: the delay, which may also come before an error, drop or
    cut.
    ``applied``: for DROP and DELAY, whether the call is carried out first; otherwise a DROP never is, and a DELAY when
    its time has passed, as by a request that was held up on its way. ``mangling``, ``path``: the malformation and the
    field, dotted, ``*`` for every element: ``Records.*.dynamodb``.
    """

    kind: FaultKind
    operation: str | None = None
    service: str | None = None
    stream: str | None = None
    shard_id: str | None = None
    detail: str | None = None
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    code: str = "InternalServerError"
    message: str = "This error was asked for."
    status: int | None = None
    seconds: float = 0.0
    applied: bool = True
    mangling: Mangling | None = None
    path: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability is {self.probability}, it must lie between 0 and 1.")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}, it must be at least 1, or None for every call.")
        if self.kind is FaultKind.MALFORMED and self.mangling is None:
            raise ValueError("A malformed reply needs to know how: set mangling.")
        if self.mangling in (Mangling.MISSING, Mangling.NULL) and not self.path:
            raise ValueError(f"{self.mangling} needs a path.")

    @classmethod
    def error(cls, code: str, operation: str | None = None, **rest: Any) -> Fault:
        """An AWS error by its code: ThrottlingException, LimitExceededException, ExpiredIteratorException and so on."""
        return cls(FaultKind.ERROR, operation, code=code, **rest)

    @classmethod
    def delay(cls, seconds: float, operation: str | None = None, **rest: Any) -> Fault:
        """A reply that comes ``seconds`` late."""
        return cls(FaultKind.DELAY, operation, seconds=seconds, **rest)

    @classmethod
    def drop(cls, operation: str | None = None, **rest: Any) -> Fault:
        """A connection that closes in place of a reply."""
        return cls(FaultKind.DROP, operation, **rest)

    @classmethod
    def half_body(cls, operation: str | None = None, **rest: Any) -> Fault:
        """A reply that breaks off in the middle of its body."""
        return cls(FaultKind.HALF_BODY, operation, **rest)

    @classmethod
    def malformed(cls, mangling: Mangling, operation: str | None = None, **rest: Any) -> Fault:
        """A reply that arrives whole but is not what the service model promises."""
        return cls(FaultKind.MALFORMED, operation, mangling=mangling, **rest)

    @classmethod
    def refuse_at_timestamp(cls, service: str = "dynamodbstreams") -> Fault:
        """A service that does not know AT_TIMESTAMP, until cleared."""
        code = "InvalidArgumentException" if service == "kinesis" else "ValidationException"
        message = (
            "1 validation error detected: Value 'AT_TIMESTAMP' at 'shardIteratorType' failed to satisfy constraint."
        )
        return cls.error(
            code, "GetShardIterator", service=service, detail="AT_TIMESTAMP", times=None, message=message
        )  # fmt: skip

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Fault:
        """A fault from JSON: the fields of this class by name. Raises ValueError for an unknown field or value."""
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown or "kind" not in values:
            raise ValueError(f"A fault needs a kind and knows no {', '.join(sorted(unknown)) or 'other way'}.")
        rest = {name: value for name, value in values.items() if name not in ("kind", "mangling")}
        mangling = values.get("mangling")
        return cls(kind=FaultKind(values["kind"]), mangling=None if mangling is None else Mangling(mangling), **rest)

    def fits(self, call: Call) -> bool:
        """Whether ``call`` is one of those that this fault is for."""
        stream = self.stream is None or self.stream == call.stream or call.stream.endswith(f"/{self.stream}")
        in_table = self.stream is not None and f"table/{self.stream}/" in call.stream
        return (
            (stream or in_table)
            and self.service in (None, call.service)
            and self.operation in (None, call.operation)
            and self.shard_id in (None, call.shard_id)
            and self.detail in (None, call.detail)
        )

    @property
    def delays_call(self) -> bool:
        """Whether the call itself comes late, and not only its reply."""
        return self.kind is FaultKind.DELAY and not self.applied

    def as_error(self) -> ServiceError:
        """The error to answer with."""
        return ServiceError(self.code, self.message, self.status)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None
    skip: int


@dataclass(slots=True)
class FaultPlan:
    """The armed faults of one server or source, and its record of calls.

    ``staleness`` is how far listings (DescribeStream, ListShards) lag. ``calls`` counts per operation, ``fired`` per
    fault kind; ``times(operation)`` has the instants (by ``now``) of the last 100,000 calls.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    now: Callable[[], float] | None = None
    staleness: Staleness = FRESH
    calls: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    _armed: list[_Armed] = field(default_factory=list)
    _times: dict[str, deque[float]] = field(default_factory=dict)

    def arm(self, *faults: Fault) -> None:
        """Add ``faults`` after those that are armed already; the first that fits a call acts."""
        self._armed.extend(_Armed(fault, fault.times, fault.skip) for fault in faults)

    def clear(self) -> None:
        """Disarm everything and let listings be fresh; the counts stay."""
        self._armed.clear()
        self.staleness = FRESH

    @property
    def armed(self) -> tuple[Fault, ...]:
        """The faults that may still act."""
        return tuple(armed.fault for armed in self._armed)

    def times(self, operation: str) -> tuple[float, ...]:
        """When ``operation`` was called, by the plan's clock; empty for a plan without one."""
        return tuple(self._times.get(operation, ()))

    def busiest(self, operations: Iterable[str], window_seconds: float = 1.0) -> int:
        """The largest number of calls of ``operations`` together within any ``window_seconds``."""
        instants = sorted(at for operation in operations for at in self.times(operation))
        most = first = 0
        for last, at in enumerate(instants):
            while instants[first] <= at - window_seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def take(self, call: Call) -> Fault | None:
        """Count ``call`` and say what goes wrong with it; None: nothing."""
        self.calls[call.operation] += 1
        if self.now is not None:
            self._times.setdefault(call.operation, deque(maxlen=_TIMES_KEPT)).append(self.now())
        for armed in self._armed:
            if armed.fault.fits(call) and self._acts(armed):
                self.fired[armed.fault.kind] += 1
                return armed.fault
        return None

    def _acts(self, armed: _Armed) -> bool:
        if armed.skip:
            armed.skip -= 1
            return False
        if armed.fault.probability < 1.0 and self.rng.random() >= armed.fault.probability:
            return False
        if armed.left is not None:
            armed.left -= 1
            if armed.left == 0:
                self._armed.remove(armed)
        return True
