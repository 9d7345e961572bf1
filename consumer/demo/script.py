"""What happens when: the cues of a run, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

__all__ = ["MINIMUM_SECONDS", "Cue", "CueKind", "SourceKind", "script"]

SourceKind = Literal["dynamodb", "kinesis"]

# A third of it until the kill, failover time and 2 s until the takeover, the rest for the hand-off.
MINIMUM_SECONDS: Final = 30.0


class CueKind(Enum):
    """One thing that the demo does to the stream or to a worker."""

    ROTATE = "rotate"  # one open shard is followed by one child
    ROTATE_ALL = "rotate all"
    SPLIT = "split"
    MERGE = "merge"
    RESHARD = "reshard"  # UpdateShardCount
    KILL = "kill"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Cue:
    """``kind`` is due ``at`` seconds after the writer's start."""

    at: float
    kind: CueKind


# As fractions of the run. Between the kill and the stop shards change, too: some have no owner then.
_STOPS: Final = ((1 / 3, CueKind.KILL), (0.72, CueKind.STOP))
_CHANGES: Final = {
    "dynamodb": (
        (0.12, CueKind.ROTATE),
        (0.19, CueKind.SPLIT),
        (0.25, CueKind.ROTATE_ALL),
        (0.44, CueKind.ROTATE),
        (0.50, CueKind.SPLIT),
        (0.66, CueKind.ROTATE),
        (0.84, CueKind.ROTATE),
        (0.92, CueKind.ROTATE),
    ),
    "kinesis": (
        (0.12, CueKind.SPLIT),
        (0.19, CueKind.MERGE),
        (0.25, CueKind.RESHARD),
        (0.44, CueKind.MERGE),
        (0.50, CueKind.SPLIT),
        (0.66, CueKind.MERGE),
        (0.84, CueKind.SPLIT),
        (0.92, CueKind.MERGE),
    ),
}


def script(seconds: float, source: SourceKind) -> tuple[Cue, ...]:
    """The cues of a run of ``seconds``, by time."""
    parts = sorted((*_STOPS, *_CHANGES[source]), key=lambda part: part[0])
    return tuple(Cue(round(fraction * seconds, 2), kind) for fraction, kind in parts)
