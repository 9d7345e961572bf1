"""Made-up streams for the shard graph's tests: true lineages with times, what may be listed of them, and garbage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from consumer.config import InitialPosition
from consumer.streams.source import Shard
from lease_store.checkpoint import Checkpoint

LABEL = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-11-20T08:00:00.000"
OLD_LABEL = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-11-19T08:00:00.000"
BIRTH = 1_763_600_000
HORIZON = InitialPosition("TRIM_HORIZON")
NEWEST = InitialPosition("LATEST")
BEGUN = Checkpoint("100")


def at(timestamp: float) -> InitialPosition:
    return InitialPosition("AT_TIMESTAMP", timestamp)


def shard_id(number: int, created_at: float) -> str:
    return f"shardId-{round(created_at * 1000):020d}-{number:08x}"


@dataclass
class Stream:
    """All shards that ever were, oldest first, with the time at which each was closed (None: open)."""

    shards: list[Shard] = field(default_factory=list)
    closed_at: dict[str, float] = field(default_factory=dict)

    def add(self, created_at: float, *parents: Shard) -> Shard:
        for parent in parents:
            self.closed_at[parent.id] = created_at
        shard = Shard(
            shard_id(len(self.shards), created_at),
            tuple(sorted(parent.id for parent in parents)),
            created_at=created_at,
            hash_range=("0", "1"),
        )
        self.shards.append(shard)
        return shard

    @property
    def open(self) -> list[Shard]:
        return [shard for shard in self.shards if shard.id not in self.closed_at]

    @property
    def listing(self) -> tuple[Shard, ...]:
        return tuple(replace(shard, is_open=shard.id not in self.closed_at) for shard in self.shards)

    @property
    def ageless(self) -> tuple[Shard, ...]:
        """As Kinesis would show it: no creation time."""
        return tuple(replace(shard, created_at=None) for shard in self.listing)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Roots, then rotations, splits and merges, each some time after the one before."""
    stream, now = Stream(), float(BIRTH)
    for _ in range(draw(st.integers(1, 3))):
        stream.add(now)
    for _ in range(draw(st.integers(0, 7))):
        now += draw(st.sampled_from([1.0, 30.0, 100.0, 4000.0]))
        one = draw(st.sampled_from(stream.open))
        kind = draw(st.sampled_from(["rotate", "rotate", "split", "merge"]))
        others = [shard for shard in stream.open if shard is not one]
        if kind == "merge" and others:
            stream.add(now, one, draw(st.sampled_from(others)))
        else:
            stream.add(now, one)
            if kind == "split":
                child = stream.add(now)
                stream.shards[-1] = replace(child, parents=(one.id,))
    return stream


@st.composite
def sublists(draw: st.DrawFn, shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """What an eventually consistent listing may show: some of it, in some order."""
    kept = [shard for shard in shards if draw(st.booleans())]
    return tuple(draw(st.permutations(kept)))


@st.composite
def garbage(draw: st.DrawFn) -> tuple[Shard, ...]:
    """Any edges at all: loops, self-parents, missing parents, one id twice."""
    names = [f"shard-{letter}" for letter in "abcdef"]
    size = draw(st.integers(0, 8))
    return tuple(
        Shard(
            draw(st.sampled_from(names)),
            tuple(draw(st.lists(st.sampled_from([*names, "unlisted", ""]), max_size=3))),
            is_open=draw(st.booleans()),
            created_at=draw(st.none() | st.floats(BIRTH - 100, BIRTH + 100)),
        )
        for _ in range(size)
    )
