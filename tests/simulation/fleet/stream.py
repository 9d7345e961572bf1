"""The stream of the fleet world: written to all the time, reshaped, deleted and made anew under its workers."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from consumer.testing.service_error import ServiceError
from consumer.testing.stream_log import StreamLog
from tests.simulation.fleet.process import Surroundings
from tests.simulation.fleet.written import Written

__all__ = ["NAME", "StreamSide"]

NAME = "orders"
_MOST_SHARDS = 10
_RECREATE_SECONDS = 11.0  # the service needs at least as long to delete one stream and to create the next


class StreamSide:
    """Writes and changes the stream of one world. ``slowness`` 1: as drawn. ``serial`` is the next record's."""

    def __init__(self, seed: int, around: Surroundings, chance: random.Random) -> None:
        self.slowness = 1.0
        self._seed = seed
        self._around = around
        self._draw = around.draw
        self._log = around.log
        self._judge = around.judge
        self._chance = chance
        self.serial = 0

    def open(self) -> None:
        """Create or enable the stream."""
        shards = self._draw.shards
        if self._draw.service == "kinesis":
            log = self._log.create_stream(NAME, shards)
        elif NAME in self._log.tables.tables:
            log = self._log.tables.enable(NAME, shard_count=shards).log
        else:
            log = self._log.create_table(NAME, shard_count=shards)
        self._around.is_stream_gone = False
        self._around.stream_born_at = asyncio.get_running_loop().time()
        self._judge.opened(log)

    @property
    def stream(self) -> StreamLog:
        """Its present life."""
        return self._log.stream(self._around.source)

    def write(self, key: str) -> None:
        """Write one record of ``key``; nothing where the stream takes none now."""
        try:
            if self._draw.service == "kinesis":
                record, shard_id = self._log.kinesis.put(NAME, key, str(self.serial).encode())
            else:
                record, shard_id = self._log.tables.change(NAME, new_image={"pk": key, "n": self.serial})
        except ServiceError:
            return
        place = (self.stream.incarnation, shard_id)
        self._judge.wrote(Written(self.serial, key, place, record.sequence, record.arrived_at))
        self.serial += 1

    async def write_forever(self) -> None:
        """Records of drawn keys at drawn moments, until cancelled."""
        chance = random.Random(f"{self._seed}:writer")
        while True:
            await asyncio.sleep(self.slowness * chance.expovariate(1.0) / self._draw.writes_per_second)
            self.write(f"k{chance.randrange(self._draw.keys)}")

    def reshape(self, what: str) -> None:
        """Rotate, split, merge or reshard, where that can be done now."""
        self._judge.look()
        stream, chance = self.stream if not self._around.is_stream_gone else None, self._chance
        if stream is None or not (shards := stream.open_shards()):
            return
        chosen = chance.choice(shards).id
        if what == "rotate":
            stream.lineage.rotate(chance.choice((None, chosen)))
        elif what == "split" and len(shards) < _MOST_SHARDS:
            stream.lineage.split(chosen)
        elif what == "merge" and len(shards) > 1:
            place = chance.randrange(len(shards) - 1)
            stream.lineage.merge(shards[place].id, shards[place + 1].id)
        elif what == "reshard":
            stream.lineage.reshard(chance.randint(1, 6))

    async def recreate(self) -> None:
        """Delete the stream or switch it off; after a while there is another one."""
        if self._around.is_stream_gone:
            return
        stream = self.stream
        self._around.is_stream_gone = True
        if self._draw.service == "kinesis":
            self._log.kinesis.delete(NAME)
            await asyncio.sleep(self._draw.options.transition_seconds)
            self._judge.deleted.add(stream.incarnation)
            await asyncio.sleep(_RECREATE_SECONDS)
        else:
            self._log.tables.disable(NAME)
        await asyncio.sleep(self._chance.choice((0.1, 1.5, 12.0)))
        self.open()

    def stop_rotating(self) -> None:
        """No shard is followed by another any more without being told."""
        for log in self._judge.logs.values():
            log.lineage.options = replace(log.lineage.options, rotate_every_seconds=None)
