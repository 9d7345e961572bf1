"""Records what real Java KCLs write, for ``tests/golden``: ``python -m tests.integration.kcl.record EDITION [FOLDER]``.

Two peers: the second joins, a shard is split and two are merged, the first is killed. Kept are one request of each kind
as it was sent, and every row of the tables at some moments.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Exchange
from tests.integration.kcl.aggregate import aggregate
from tests.integration.kcl.evidence import LEGACY
from tests.integration.kcl.happenings import leader_now
from tests.integration.kcl.java import EDITIONS
from tests.integration.kcl.mixed_stage import MixedFleet, Row, mixed_fleet
from tests.integration.kcl.timers import QUICK
from tests.integration.ledger import CLOCK
from tests.integration.table_writes import row_key

__all__ = ["kind_of", "main"]

_GOLDEN: Final = Path(__file__).parents[2] / "golden"
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_NAMES: Final = {"adapter": "adapter-2.0.1"}
# Each fleet's app has a name of its own; in the recordings it is one.
_APP: Final = re.compile(r"\bapp[0-9a-f]{12}\b")
_WITHIN_SECONDS: Final = 120.0


def kind_of(exchange: Exchange) -> str | None:
    """A name for what a write does, by its request alone; None for what is no write, or was refused."""
    request, fields = exchange.request, exchange.fields
    if request.operation not in _WRITES or exchange.reply is None or exchange.reply.status != 200:
        return None
    key = row_key(fields) or ""
    if key == "Leader":
        return {"PutItem": "lock_acquire", "UpdateItem": "lock_heartbeat", "DeleteItem": "lock_release"}[
            request.operation
        ]
    if key.startswith(("Migration", "TableMigration")):
        return "migration_state"
    if request.operation == "DeleteItem":
        return "delete"
    if request.operation == "PutItem":
        parents = len(fields["Item"].get("parentShardId", {}).get("SS", ()))
        return ("create", "create_child", "create_merge_child")[parents]
    if "lut" in fields.get("ExpressionAttributeNames", {}).values():
        return "worker_metrics"
    return _update_kind(fields.get("AttributeUpdates", {}), fields.get("Expected", {}))


def _update_kind(updates: dict[str, Any], expected: dict[str, Any]) -> str:
    if "Value" in updates.get("pendingCheckpoint", {}):
        return "prepare_checkpoint"
    if "checkpoint" in updates:
        ended = updates["checkpoint"].get("Value", {}).get("S") == "SHARD_END"
        return "shard_end" if ended else "set_checkpoint"
    if "leaseOwner" in updates:
        if updates.get("checkpointOwner", {}).get("Action") == "PUT":
            return "start_hand_off"
        is_free = expected.get("leaseOwner", {}).get("Exists") is False
        # The 2.x taker compares the counter; a leader, and an owner who finishes a hand-off, both owners.
        if "leaseCounter" in expected:
            return "take" if "ownerSwitchesSinceCheckpoint" not in updates else "steal"
        is_finish = expected.get("checkpointOwner", {}).get("Value") is not None
        return "finish_hand_off" if is_finish else "assign" if is_free else "assign_again"
    if "childShardIds" in updates:
        return "set_children"
    if "leaseCounter" in updates:
        return "renew_pending" if "checkpointOwner" not in expected and len(expected) > 1 else "renew"
    return "other"


class Recorder:
    """One request of each kind, and rows by moment, with the app's name made a steady one."""

    def __init__(self, fleet: MixedFleet) -> None:
        self._fleet = fleet
        self.moments: dict[str, Any] = {}
        self._rubbish: dict[str, Row] = {}

    def moment(self, name: str) -> None:
        """Keep every row as it is now; a legacy table's under the moment and the table's kind."""
        for suffix in ("", *LEGACY):
            rows = sorted(self._fleet.rows(suffix), key=str)
            if rows:
                self.moments[f"{name} {suffix.removeprefix('-')}".strip()] = rows

    def leave_rubbish(self, owner: str) -> None:
        """Put a hand-off of long ago into the rows of ``owner``, as a KCL 3.x may leave behind."""
        for row in self._fleet.rows():
            if row.get("leaseOwner", {}).get("S") == owner:
                row["checkpointOwner"] = {"S": "w0"}
                self._fleet.table.put_item(TableName=self._fleet.app, Item=row)
                self._rubbish[row["leaseKey"]["S"]] = row

    def requests(self) -> dict[str, Any]:
        """The first request of each kind."""
        found: dict[str, Any] = {}
        for _, exchange in self._fleet.exchanges:
            kind = kind_of(exchange)
            if kind is not None and kind not in found:
                found[kind] = {"operation": exchange.request.operation, "request": exchange.fields}
            row = self._rubbish.get(row_key(exchange.fields) or "") if kind in ("take", "steal") else None
            if row is not None and exchange.fields["Expected"]["leaseCounter"]["Value"] == row["leaseCounter"]:
                written = {"operation": exchange.request.operation, "request": exchange.fields}
                found["take_of_pending"] = {"row_before": row, **written}
        return found


def _written(folder: Path, name: str, recorders: Sequence[Recorder]) -> None:
    """Two files: one request of each kind, and the tables by moment."""
    requests: dict[str, Any] = {}
    moments: dict[str, Any] = {}
    for each in recorders:
        requests = each.requests() | requests
        moments |= each.moments
    for kind, content in (("requests", requests), ("tables", moments)):
        text = json.dumps(content, indent=1, sort_keys=True, default=_as_base64)
        (folder / f"{name}-{kind}.json").write_text(_APP.sub("app7", text) + "\n")


def _as_base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{value!r} has no place in a recording.")


async def _two_peers(fleet: MixedFleet, recorder: Recorder) -> None:
    """Join, split, merge, kill, stop."""
    first = await fleet.start_java("w1")
    async with fleet.written_to():
        await fleet.until_shared(_WITHIN_SECONDS)
        recorder.moment("1-one-worker")
        second = await fleet.start_java("w2")
        await fleet.until_shared(_WITHIN_SECONDS)
        recorder.moment("2-two-workers")
        await _reshard(fleet)
        recorder.moment("3-after-split-and-merge" if fleet.edition != "adapter" else "3-after-rotation")
        first.send(signal.SIGKILL)
        if not fleet.has_leader:
            recorder.leave_rubbish("w1")
        await fleet.until_owned_by_one("w2", _WITHIN_SECONDS)
        await CLOCK.sleep(3.0)
        recorder.moment("4-the-first-killed")
        if fleet.has_leader:
            await fleet.until(lambda: leader_now(fleet) == "w2", "the lock with w2", _WITHIN_SECONDS)
        second.send(signal.SIGTERM)
        await second.end(_WITHIN_SECONDS)


async def _reshard(fleet: MixedFleet) -> None:
    shards = [shard for shard, held in fleet.leases().items() if not held.is_finished]

    def act() -> list[str]:
        lineage = fleet.streams.server.log.stream(fleet.stream.table).lineage
        if fleet.edition == "adapter":
            return list(lineage.rotate())
        merged = lineage.merge(*sorted(shards)[1:3])
        return [merged, *lineage.split(sorted(shards)[0])]

    children = set(fleet.streams.call(act))

    def read() -> bool:
        return children <= {note.shard_id for note in fleet.ledger.of("record")}

    await fleet.until(read, "the children read", _WITHIN_SECONDS)


async def _prepared(fleet: MixedFleet, recorder: Recorder) -> None:
    """A worker that only prepares its checkpoints."""
    await fleet.start_java("w1", checkpoint="prepare")
    async with fleet.written_to():
        await fleet.until_shared(_WITHIN_SECONDS)
        await CLOCK.sleep(2.0)
        recorder.moment("5-prepared")


async def _aggregated(fleet: MixedFleet, recorder: Recorder) -> None:
    """A worker that checkpoints in the middle of what a KPL packed."""
    await fleet.start_java("w1", checkpoint="middle")
    for number in range(8):
        key = f"k{number}"
        packed = aggregate(key, [str(fleet.ledger.next_version(key)).encode() for _ in range(6)])
        fleet.streams.put_record(fleet.stream.table, key, packed)
    await fleet.ledger.until_all_delivered(_WITHIN_SECONDS)
    await CLOCK.sleep(2.0)
    recorder.moment("inside-aggregates")


async def record(edition: str, folder: Path) -> None:
    """All plays, the files written."""
    with Ministack.start() as ministack, tempfile.TemporaryDirectory() as logs:

        async def played(*plays: Callable[[MixedFleet, Recorder], Awaitable[None]]) -> list[Recorder]:
            recorders = []
            for play in plays:
                async with mixed_fleet(Path(logs), ministack, edition, QUICK) as fleet:
                    recorders.append(Recorder(fleet))
                    await play(fleet, recorders[-1])
                    for worker, lines in fleet.java_errors().items():
                        print(f"{play.__name__} {worker}: {len(lines)} ERROR lines, {lines[:2]}")
            return recorders

        _written(folder, _NAMES.get(edition, edition), await played(_two_peers, _prepared))
        if edition == "kcl-3.5.1":
            _written(folder, "kpl", await played(_aggregated))


def main(arguments: Iterable[str] | None = None) -> None:
    """Record one edition."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.kcl.record", description=__doc__)
    parser.add_argument("edition", choices=EDITIONS)
    parser.add_argument("folder", nargs="?", type=Path, default=_GOLDEN)
    told = parser.parse_args(None if arguments is None else list(arguments))
    asyncio.run(record(told.edition, told.folder))


if __name__ == "__main__":
    main()
