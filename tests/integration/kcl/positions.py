"""Places that one side left, found by the other: leases at LATEST of which nothing was ever read, and checkpoints that
were prepared and not committed.

Nothing is written while Java starts: a record would turn the word into a number.
"""

from __future__ import annotations

import signal
from typing import Final

from tests.integration.kcl.mixed_stage import MixedFleet, Row
from tests.integration.kcl.play import Play
from tests.integration.ledger import CLOCK

__all__ = ["latest", "prepared", "prepared_by_python"]

_WRITING_SECONDS: Final = 10.0
_SHARDS: Final = 4
_LOOKS: Final = 5


def _words(fleet: MixedFleet) -> list[str]:
    """The checkpoints of the leases that this fleet's members own."""
    rows = [row for row in fleet.rows() if "leaseCounter" in row]
    return [row["checkpoint"]["S"] for row in rows if fleet.name_of(row.get("leaseOwner", {}).get("S"))]


def _looks(fleet: MixedFleet, name: str) -> int:
    return sum(each.request.operation == "Scan" for member, each in fleet.exchanges if member == name)


def _prepared_rows(fleet: MixedFleet) -> list[Row]:
    return [row for row in fleet.rows() if "pendingCheckpoint" in row]


def _read_by(fleet: MixedFleet, name: str) -> bool:
    return set(fleet.ledger.written) <= {(note.key, note.version) for note in fleet.ledger.of("record", worker=name)}


async def latest(play: Play) -> None:
    """Java starts at LATEST and is killed before there was a record; what is written until Python takes over comes."""
    fleet, patience = play.fleet, play.fleet.timers.patience_seconds
    async with play.step("Java starts at LATEST, and nothing is written"):
        java = await fleet.start_java("java1", position="LATEST")
        await fleet.until(lambda: _words(fleet) == ["LATEST"] * _SHARDS, "four leases at LATEST", patience)
    async with play.step("Python joins"):
        await fleet.start_python("python1")
        # A Java leader balances throughput, and moves no lease of which nothing is read.
        await fleet.until(lambda: _looks(fleet, "python1") >= _LOOKS, "looks at the table by Python", patience)
    java.send(signal.SIGKILL)
    await java.end()
    async with play.step("what is written after Java's death is read") as figures:
        async with fleet.written_to():
            await CLOCK.sleep(_WRITING_SECONDS)
        await fleet.ledger.until_all_delivered(patience)
        figures["records"] = len(fleet.ledger.written)


async def prepared(play: Play) -> None:
    """Java only prepares its checkpoints and is killed; Python is handed each, and reads from the checkpoint."""
    fleet, patience = play.fleet, play.fleet.timers.patience_seconds
    async with play.step("Java prepares"):
        java = await fleet.start_java("java1", checkpoint="prepare")
        async with fleet.written_to():
            await fleet.until(
                lambda: len(_prepared_rows(fleet)) == _SHARDS, "a checkpoint prepared in each shard", patience
            )
    java.send(signal.SIGKILL)
    await java.end()
    told = {row["leaseKey"]["S"]: int(row["pendingCheckpoint"]["S"]) for row in _prepared_rows(fleet)}
    async with play.step("Python is handed what was prepared", may_repeat=True):
        await fleet.start_python("python1")
        await fleet.until(
            lambda: len(fleet.ledger.of("pending", worker="python1")) >= _SHARDS, "it in each shard", patience
        )
        handed = {note.shard_id: note.number for note in fleet.ledger.of("pending", worker="python1")}
        play.expect(handed == told, f"Python was handed {handed}, Java had prepared {told}")
    async with play.step("Python reads all from the checkpoints on", may_repeat=True):
        await fleet.until(lambda: _read_by(fleet, "python1"), "each record given by Python", patience)
        await fleet.until(lambda: not _prepared_rows(fleet), "no more pending", patience)


async def prepared_by_python(play: Play) -> None:
    """Python only prepares its checkpoints and is killed; Java is handed each, and reads from the checkpoint."""
    fleet, patience = play.fleet, play.fleet.timers.patience_seconds
    preparing = {"LEASEHOLD_CHECKPOINTING": "manual", "ONLY_PREPARES": "1", **fleet.joinable}
    async with play.step("Python prepares"):
        python = await fleet.start_python("python1", **preparing)
        await fleet.until(lambda: len(_words(fleet)) == _SHARDS, "four leases", patience)
        async with fleet.written_to():
            await CLOCK.sleep(_WRITING_SECONDS)
    python.send(signal.SIGKILL)
    await python.end()
    told = {row["leaseKey"]["S"]: f"{row['pendingCheckpoint']['S']}/0" for row in _prepared_rows(fleet)}
    play.expect(len(told) == _SHARDS, f"Python prepared {len(told)} checkpoints, not {_SHARDS}")
    async with play.step("Java is handed what was prepared", may_repeat=True):
        await fleet.start_java("java1")
        await fleet.until(
            lambda: len(fleet.ledger.of("pending", worker="java1")) >= _SHARDS, "it in each shard", patience
        )
        handed = {note.shard_id: note.key for note in fleet.ledger.of("pending", worker="java1")}
        play.expect(handed == told, f"Java was handed {handed}, Python had prepared {told}")
    async with play.step("Java reads all from the checkpoints on", may_repeat=True):
        await fleet.until(lambda: _read_by(fleet, "java1"), "each record given by Java", patience)
        await fleet.until(lambda: not _prepared_rows(fleet), "no more pending", patience)
