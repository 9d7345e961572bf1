"""What one seed's workers do with records that fail, and what fails: drawn apart from the rest of the fleet's world."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["PLAIN_POLICY", "PolicyDraw", "drawn_policy", "pk_of", "serial_of"]

PoisonKind = Literal["raise", "named", "returned", "fail", "wrong", "busy"]
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

_KINDS: Final[tuple[tuple[PoisonKind, ...], ...]] = (
    ("raise",),
    ("raise",),
    ("named", "fail", "returned"),
    ("wrong",),
    ("raise", "named", "fail", "busy"),
)


def drawn_policy(seed: int, *, writes_per_second: float, code_raises: float) -> PolicyDraw:
    """The policy of ``seed`` in the world of policies."""
    draw = random.Random(f"{seed}:policy")
    holds = False
    outcome = draw.choice(("store", "store", "store", "drop", "never"))
    settings: dict[str, Any] = {
        "lanes": draw.choice((1, 1, 2, 5)),
        "batch_size": draw.choice((1, 7, 30, 1000)),
        "batch_bytes": draw.choice((None, None, 500)),
        "batch_window_seconds": draw.choice((0.0, 0.0, 0.0, 0.7, 2.0)),
        "bisect": draw.random() < 0.4,
        "breaker_batches": draw.choice((0, 3, 3)),
        "lone_failure_seconds": draw.choice((20.0, 40.0)),
        "max_parked_keys": draw.choice((0, 1, 100, 100)),
        "max_parked_bytes": draw.choice((3_000, 16 * 1024 * 1024, 16 * 1024 * 1024)),
        "max_ahead_records": draw.choice((20, 200, 10_000)),
        "max_ahead_seconds": draw.choice((2.0, 300.0, 300.0)),
        "max_records_per_second": draw.choice((None, None, None, 80.0)),
        "batch_timeout_seconds": draw.choice((None, None, 3.0)),
    }
    attempts = draw.choice((None, 1, 2, 3))
    age = draw.choice((None, None, None, 60.0, 3600.0))
    if outcome == "store":
        settings |= {"dead_letters": "file:in memory", "max_attempts": attempts, "max_record_age_seconds": age}
        holds = draw.random() < 0.3
    elif outcome == "drop":
        settings |= {"on_give_up": "drop", "max_attempts": attempts or 5, "max_record_age_seconds": age}
    filter: Any = draw.choice((None, None, "predicate", "broken", "pattern"))
    if filter == "broken" and outcome == "store" and draw.random() < 0.5:
        settings["on_undecodable"] = "dead_letter"
    coarse_lanes = draw.random() < 0.2
    if outcome == "store" and holds and not coarse_lanes:  # a held key is the item's
        settings["after_dead_letter"] = "hold_key"
    # A poison record costs its key some seconds: more of them than one in half a minute would never be worked off.
    every = max(12, round(writes_per_second * draw.choice((30.0, 60.0))))
    length = draw.choice((3.0, 8.0, 15.0))
    return PolicyDraw(
        settings=settings,
        store=outcome == "store",
        filter=filter,
        coarse_lanes=coarse_lanes,
        poison_every=every if draw.random() < 0.8 else None,
        kinds=draw.choice(_KINDS),
        heals_after=draw.choice((2.0, 10.0)) if outcome == "never" else draw.choice((None, None, 1.0)),
        sink_down=(draw.uniform(2.0, 30.0), length) if draw.random() < 0.4 else None,
        refused=draw.choice((0.0, 0.0, 0.3)),
        lost_reply=draw.choice((0.0, 0.2)),
        raises=draw.choice((0.0, 0.0, code_raises)),
    )
