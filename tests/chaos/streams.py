"""The stream under a campaign, of either kind: written to without a pause by one writer, changed when told."""

from __future__ import annotations

from typing import Any, Final

from consumer.testing.server_thread import StreamServerThread
from consumer.testing.stream_rules import StreamOptions
from tests.chaos.plan import Change, SourceKind
from tests.integration.ledger import Ledger
from tests.integration.worker_stage import Orders

__all__ = ["Clicks", "carry_out", "stream_of"]

# Long past any takeover, and short enough that a long campaign sees shards leave the stream, and their rows the table.
_RETENTION_SECONDS: Final = 240.0
_FIRST_SHARDS: Final = 4
_MOST_SHARDS: Final = 8


class Clicks(Orders):
    """A Kinesis stream; the key is the partition key, the version is the data."""

    def _create(self, **settings: Any) -> str:
        return self.streams.create_stream(self.table, **settings)

    def _append(self, key: str, version: int) -> None:
        self.streams.put_record(self.table, key, str(version).encode())


def stream_of(source: SourceKind, streams: StreamServerThread, ledger: Ledger) -> Orders:
    """A stream of that kind. Kinesis allows five reads of a shard a second, whoever reads."""
    limit = 5 if source == "kinesis" else None
    options = StreamOptions(retention_seconds=_RETENTION_SECONDS, reads_per_second=limit)
    made, name = (Clicks, "clicks") if source == "kinesis" else (Orders, "orders")
    return made(streams, ledger, name, shard_count=_FIRST_SHARDS, options=options)


def carry_out(stream: Orders, change: Change) -> str:
    """Make the change, or a rotation where it can't be made now; what was done."""

    def act() -> str:
        lineage = stream.streams.server.log.stream(stream.table).lineage
        shards = lineage.open_shards()
        place = int(change.pick * len(shards))
        if change.kind == "rotate all":
            lineage.rotate()
        elif change.kind == "split" and len(shards) < _MOST_SHARDS:
            lineage.split(shards[place].id)
        elif change.kind == "merge" and len(shards) > 1:
            place = min(place, len(shards) - 2)
            lineage.merge(shards[place].id, shards[place + 1].id)
        else:
            lineage.rotate(shards[place].id)
            return "rotate"
        return change.kind

    return stream.streams.call(act)
