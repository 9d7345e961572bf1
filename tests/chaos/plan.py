"""What happens in each round of a campaign, drawn from its seed: a value, so that a seed tells the same story again.

Every four rounds hold each kind of stop and of network trouble at least once, in a drawn order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from random import Random
from typing import Final, Literal, TypeVar

__all__ = ["Change", "Round", "SourceKind", "Stop", "StopKind", "Trouble", "TroubleKind", "drawn_rounds"]

T = TypeVar("T")

SourceKind = Literal["dynamodb", "kinesis"]
Side = Literal["table", "stream"]
ChangeKind = Literal["rotate", "rotate all", "split", "merge"]

_NETWORK_LEAST_SECONDS: Final = 1.0


class StopKind(StrEnum):
    """What is done to a process."""

    KILL = "kill"  # kill -9
    FREEZE = "freeze"  # SIGSTOP, and SIGCONT when others have had time to take over
    TERM = "term"  # SIGTERM


class TroubleKind(StrEnum):
    """What a proxy does."""

    CUT = "cut"  # closes the connection in place of a reply, often
    STALL = "stall"  # holds up requests or replies, often
    HALF = "half"  # sends half of a reply's body, often
    CUT_OFF = "cut off"  # one process has no lease table for longer than the failover time
    LATE = "late"  # what one process asks of the lease table arrives when others have had time to take over


@dataclass(frozen=True, slots=True)
class Stop:
    """``pick``, from 0 to 1, says which of the processes that run; ``seconds`` is how long a freeze lasts."""

    at: float
    kind: StopKind
    pick: float
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Between one process (``pick``; None: each) and a server, for ``seconds``, in a share of the calls.

    ``applied``: whether the server carries out a call whose reply is cut or stalled, or only what comes through late.
    """

    at: float
    kind: TroubleKind
    side: Side
    pick: float | None
    seconds: float
    probability: float
    stall_seconds: float
    applied: bool


@dataclass(frozen=True, slots=True)
class Change:
    """``pick`` says which of the open shards."""

    at: float
    kind: ChangeKind
    pick: float


@dataclass(frozen=True, slots=True)
class Round:
    """All that happens in a round, each at seconds from its start."""

    stops: tuple[Stop, ...]
    troubles: tuple[Trouble, ...]
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        told = [f"{stop.kind} at {stop.at:.1f}" for stop in self.stops]
        told += [
            f"{each.kind} {each.side} of {'one' if each.pick is not None else 'all'} {each.probability:.0%}"
            for each in self.troubles
        ]
        return ", ".join([*told, *(change.kind for change in self.changes)])


_PAIRS: Final = tuple(
    (first, second) for first in StopKind for second in StopKind if (first, second) != (StopKind.FREEZE,) * 2
)


def drawn_rounds(seed: int, source: SourceKind, *, round_seconds: float, failover_seconds: float) -> Iterator[Round]:
    """Rounds without end. Within a round everything begins early enough to be over at its end."""
    random = Random(f"chaos {source} {seed}")
    singles = [(kind,) for kind in StopKind]
    pairs = _endless(random, _PAIRS)
    changes = _endless(random, ["rotate", "rotate all", "split", "merge" if source == "kinesis" else "rotate"])
    while True:
        block = [*singles, next(pairs)]
        network = iter(random.sample([*TroubleKind, None, None, None], 2 * len(block)))
        for kinds in random.sample(block, len(block)):
            stops = tuple(_stop(random, kind, round_seconds, failover_seconds) for kind in kinds)
            troubles = [kind for kind in islice(network, 2) if kind is not None]
            yield Round(
                tuple(sorted(stops, key=lambda stop: stop.at)),
                tuple(_trouble(random, kind, round_seconds, failover_seconds) for kind in troubles),
                tuple(
                    Change(random.uniform(0.0, round_seconds), next(changes), random.random())
                    for _ in range(random.randint(1, 2))
                ),
            )


def _stop(random: Random, kind: StopKind, round_seconds: float, failover_seconds: float) -> Stop:
    if kind is not StopKind.FREEZE:
        return Stop(random.uniform(0.0, 0.6 * round_seconds), kind, random.random())
    seconds = random.uniform(1.1, 1.8) * failover_seconds
    return Stop(random.uniform(0.0, max(0.0, round_seconds - seconds)), kind, random.random(), seconds)


def _trouble(random: Random, kind: TroubleKind, round_seconds: float, failover_seconds: float) -> Trouble:
    long = random.uniform(1.2, 2.0) * failover_seconds
    seconds = random.uniform(_NETWORK_LEAST_SECONDS, 0.5 * round_seconds)
    if kind in (TroubleKind.CUT_OFF, TroubleKind.LATE):
        at = random.uniform(0.0, max(0.0, round_seconds - long))
        return Trouble(at, kind, "table", random.random(), long, 1.0, long, applied=False)
    return Trouble(
        at=random.uniform(0.0, round_seconds - seconds),
        kind=kind,
        side=random.choice(["table", "table", "stream"]),
        pick=random.random() if random.random() < 0.6 else None,
        seconds=seconds,
        probability=random.choice([0.1, 0.3, 0.6, 1.0]),
        stall_seconds=random.uniform(0.2, 3.0),
        applied=random.random() < 0.5,
    )


def _endless(random: Random, kinds: Sequence[T]) -> Iterator[T]:
    """Each kind once in a drawn order, and again, and again."""
    while True:
        yield from random.sample(kinds, len(kinds))
