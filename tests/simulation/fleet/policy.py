"""What one seed's workers do with records that fail, and what fails: drawn apart from the rest of the fleet's world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from consumer.delivery.attempts import Retry

__all__ = ["PLAIN_POLICY", "PolicyDraw", "pk_of", "serial_of"]

PoisonKind = Literal["raise", "named", "returned", "fail", "wrong", "busy"]
_NAMED: Final[tuple[PoisonKind, ...]] = ("named", "returned", "fail")
_STAYING: Final = 2  # poison records that stay so: with a third one without traffic the sink would count as down
_LATE: Final = 5  # of as many lane keys, where they are coarser than keys
_FILTERED_ONE_IN: Final = 4
_UNJUDGED_ONE_IN: Final = 23


def serial_of(record: Any) -> int:
    """The number that the writer put into a record."""
    return int(record.new_image["n"]) if hasattr(record, "new_image") else int(record.data)


@dataclass(frozen=True, slots=True)
class PolicyDraw:
    """Settings, and what user code makes of which records; durations in seconds.

    Of ``poison_every`` records one is poison, of one of ``kinds``: the whole call raises or returns what has no
    meaning, or it says which record failed; ``busy`` asks for pauses. It is so until it has failed for
    ``heals_after`` (None: for good, where records may be given up). ``sink_down``: from when on, in the phase, and for
    how long every call fails. ``refused`` and ``lost_reply`` are odds of a call of the store for dead letters.
    ``stays_from``: from which poison record on two of them stay so, and are never given up. ``retries`` is what the
    processor's class says, ``retention`` how long the stream says to keep records. ``hangs``: calls outlast their time
    and their cancellation. ``operator``: what somebody does with letters while the fleet runs, ``even_if_newer`` too.
    """

    settings: Mapping[str, Any]
    store: bool = False
    filter: Literal["predicate", "broken", "pattern"] | None = None
    coarse_lanes: bool = False
    poison_every: int | None = None
    kinds: tuple[PoisonKind, ...] = ("raise",)
    heals_after: float | None = None
    sink_down: tuple[float, float] | None = None
    refused: float = 0.0
    lost_reply: float = 0.0
    raises: float | None = None
    """Odds of a call that fails by chance, in place of those of the draw."""
    stays_from: int | None = None
    retries: Mapping[type[BaseException], Retry] = field(default_factory=dict)
    retention: float | None = None
    hangs: bool = False
    operator: Literal["redrive", "drop"] | None = None
    even_if_newer: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the workers do as they do by default, and nothing fails but by chance."""
        return not self.settings

    def setting(self, name: str, default: Any = None) -> Any:
        """What the configuration says, where it says anything."""
        return self.settings.get(name, default)

    @property
    def lanes(self) -> int:
        return int(self.setting("lanes", 1))

    @property
    def gives_up(self) -> bool:
        """Whether a record may be given up."""
        return self.store or self.setting("on_give_up") == "drop"

    def lane_key(self, key: str) -> str:
        """What a record of ``key`` shares its order with."""
        return f"lane of {int(key.removeprefix('k')) % _LATE}" if self.coarse_lanes else key

    def is_filtered(self, serial: int, key: str) -> bool:
        """Whether the filter leaves the record out."""
        if self.filter == "pattern":
            return key == "k0"
        return self.filter is not None and not self.is_unjudged(serial) and serial % _FILTERED_ONE_IN == 1

    def is_unjudged(self, serial: int) -> bool:
        """Whether the filter breaks on it."""
        return self.filter == "broken" and serial % _UNJUDGED_ONE_IN == 7

    def kind_of(self, serial: int) -> PoisonKind | None:
        """In which way the record is poison, None where it is none."""
        every = self.poison_every
        if every is None or serial % every != every // 2:
            return None
        return self.kinds[serial // every % len(self.kinds)]

    def stays(self, serial: int) -> bool:
        """Whether the record is poison for good, and can't be given up."""
        every, first, kind = self.poison_every, self.stays_from, self.kind_of(serial)
        if every is None or first is None or kind in (None, "busy"):
            return False
        return first <= serial // every < first + _STAYING

    def names(self, serial: int) -> bool:
        """Whether user code says itself that it is this record that failed."""
        return self.kind_of(serial) in _NAMED

    @property
    def patience_seconds(self) -> float:
        """How long records may wait for others that fail: where nothing else is tried, each for its own time."""
        lone = self.setting("lone_failure_seconds", 900.0) if self.poison_every and self.gives_up else 0.0
        return float(3 * lone + (self.retention or 0.0))

    @property
    def holds_keys(self) -> bool:
        """Whether what follows a dead letter under its key follows it into the store."""
        return self.setting("after_dead_letter") == "hold_key"

    @property
    def parks_alone(self) -> bool:
        """Whether a record that nobody has named is found, and parked, by trying it alone."""
        return bool(self.setting("bisect")) or (self.lanes > 1 and self.setting("batch_size", 1000) == 1)

    @property
    def is_roomy(self) -> bool:
        """Whether whatever waits parked holds up nobody else."""
        return (
            self.setting("max_parked_keys", 100) >= _STAYING
            and self.setting("max_parked_bytes", 2**24) >= 2**24
            and self.setting("max_ahead_records", 10_000) >= 10_000
            and self.setting("max_ahead_seconds", 300.0) > 3600.0
        )

    def predicate(self) -> Any:
        """What the processor's class says as ``filter``."""
        if self.filter is None:
            return None
        if self.filter == "pattern":
            other = [{"anything-but": ["k0"]}]
            return [{"partitionKey": other}], [{"dynamodb": {"Keys": {"pk": {"S": other}}}}]

        def wanted(record: Any) -> bool:
            serial = serial_of(record)
            if self.is_unjudged(serial):
                raise LookupError("nothing to judge by")
            return not self.is_filtered(serial, "")

        return wanted

    def lane_key_of(self) -> Callable[[Any], str] | None:
        """What the processor's class says as ``lane_key``."""
        return (lambda record: self.lane_key(pk_of(record))) if self.coarse_lanes else None


def pk_of(record: Any) -> str:
    """The key that the writer gave to a record."""
    return str(record.new_image["pk"] if hasattr(record, "new_image") else record.partition_key)


PLAIN_POLICY: Final = PolicyDraw({})
