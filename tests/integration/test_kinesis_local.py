"""Kinesis by a server that nobody of this project wrote: the source alone, then whole workers through a resharding."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consumer.errors import PositionRefused, StreamMissing
from consumer.hooks import GapFound, ShardEnded, TenureEnded
from consumer.streams import KinesisRecord, KinesisSource, Position, StreamIdentity
from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from consumer.worker import Outcome
from tests.integration.going_on import going_on
from tests.integration.kinesis_local_server import KinesisLocal, KinesisLocalMissing
from tests.integration.ledger import (
    CLOCK,
    Ledger,
    disorder,
    early_children,
    lost,
    repeats,
    repeats_within_tenures,
)
from tests.integration.stream_sources import HORIZON, SESSION
from tests.integration.worker_stage import Group

pytestmark = pytest.mark.integration

MIDDLE = str(2**127)


@pytest.fixture(scope="module")
def server() -> Iterator[KinesisLocal]:
    try:
        started = KinesisLocal.start()
    except KinesisLocalMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with started:
        yield started


@pytest.fixture(scope="module")
def endpoint_url(request: pytest.FixtureRequest) -> str:
    """The Kinesis under test: kinesis-local, or by hand the one that LEASEHOLD_KINESIS_ENDPOINT names."""
    named = os.environ.get("LEASEHOLD_KINESIS_ENDPOINT")
    return named or str(request.getfixturevalue("server").endpoint_url)


class Clicks:
    """A stream of its own on the server, fed and resharded by an ordinary client."""

    def __init__(self, client: Any, name: str, ledger: Ledger) -> None:
        self.name = name
        self.ledger = ledger
        self.puts: Counter[str] = Counter()
        self._client = client

    def source(self) -> KinesisSource:
        return KinesisSource(f"kinesis:{self.name}", session=SESSION)

    async def put(self, key: str) -> tuple[str, str]:
        """The next version of ``key``; its shard and sequence number."""
        body = str(self.ledger.next_version(key)).encode()
        reply = await self._client.put_record(StreamName=self.name, PartitionKey=key, Data=body)
        self.puts[reply["ShardId"]] += 1
        return reply["ShardId"], reply["SequenceNumber"]

    async def split(self, shard_id: str, at: str = MIDDLE) -> set[str]:
        """Split a shard; its children."""
        await self._client.split_shard(StreamName=self.name, ShardToSplit=shard_id, NewStartingHashKey=at)
        return await self._children_of({shard_id})

    async def merge(self, first: str, second: str) -> str:
        """Merge two shards; their child."""
        await self._client.merge_shards(StreamName=self.name, ShardToMerge=first, AdjacentShardToMerge=second)
        (child,) = await self._children_of({first, second})
        return child

    async def parents(self) -> dict[str, tuple[str, ...]]:
        """Every shard with its parents."""
        shards = (await self._client.list_shards(StreamName=self.name))["Shards"]
        names = ("ParentShardId", "AdjacentParentShardId")
        return {each["ShardId"]: tuple(each[name] for name in names if each.get(name)) for each in shards}

    async def _children_of(self, above: set[str]) -> set[str]:
        """Once the stream is done with what it was asked for."""
        await self._client.get_waiter("stream_exists").wait(StreamName=self.name, WaiterConfig={"Delay": 1})
        found = {child for child, parents in (await self.parents()).items() if set(parents) == above}
        assert found
        return found

    def written_to(self, keys: int = 24, per_second: float = 60.0) -> AbstractAsyncContextManager[None]:
        """Records come, one key after the other, for as long as this is entered."""
        return going_on(lambda place: self.put(f"k{place % keys}"), 1 / per_second, CLOCK)


@pytest.fixture
async def clicks(monkeypatch: pytest.MonkeyPatch, endpoint_url: str) -> AsyncIterator[Clicks]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", endpoint_url)
    name = f"clicks-{uuid4().hex[:8]}"
    async with SESSION.create_client("kinesis") as client:
        await client.create_stream(StreamName=name, ShardCount=1)
        await client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        yield Clicks(client, name, Ledger())


# -- the server


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens where in /proc")
def test_it_listens_on_loopback_only_and_is_gone_after_stop(server: KinesisLocal) -> None:
    with KinesisLocal.start() as other:
        assert other.port != server.port
        assert _listening(other.pid) == {"0100007F"}, "127.0.0.1, as the kernel writes it"
        assert other.stop() == ""
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection("127.0.0.1", other.port, timeout=2.0).connect()
        assert other.stop() == ""


def _listening(pid: int) -> set[str]:
    """The addresses at which a process listens, IPv6 ones among them."""
    links = (link for link in Path(f"/proc/{pid}/fd").iterdir())
    sockets = {target[8:-1] for link in links if (target := os.readlink(link)).startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.mark.parametrize(
    "arguments",
    ["0, ready", "{port: 0}, ready", "'0', ready", "0, '0.0.0.0', ready", "0, '::', 5, ready", "0, undefined, ready"],
)
def test_every_way_to_ask_for_a_port_ends_on_loopback(server: KinesisLocal, arguments: str) -> None:
    script = (
        "const s = require('net').createServer();"
        f"const ready = () => {{ console.log(s.address().address); s.close(); }}; s.listen({arguments});"
    )
    loopback = Path(__file__).parent / "kinesis_local" / "loopback.js"
    done = subprocess.run(
        ["node", "--require", str(loopback), "-e", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "127.0.0.1"


# -- the source


async def _read(source: KinesisSource, stream: StreamIdentity, shard_id: str, position: Position) -> list[int]:
    """The sequence numbers that the first page with records at ``position`` has."""
    opened = await source.iterator(stream, shard_id, position)
    page = await source.read(stream, shard_id, opened.iterator, 100)
    return [int(record.sequence_number) for record in page.records]


async def test_it_lists_opens_at_every_position_and_reads(clicks: Clicks) -> None:
    source = clicks.source()
    async with source.open():
        stream = await source.resolve()
        assert stream.enabled
        assert stream.label.startswith(f"{stream.arn}@")
        (shard,) = (await source.list_shards(stream)).shards
        assert (shard.parents, shard.is_open, shard.hash_range) == ((), True, ("0", str(2**128 - 1)))
        opened = await source.iterator(stream, shard.id, Position("LATEST"))
        first = int((await clicks.put("a"))[1])
        (record,) = (await source.read(stream, shard.id, opened.iterator, 100)).records
        assert isinstance(record, KinesisRecord)
        assert (record.partition_key, record.data, record.sub_sequence_number) == ("a", b"1", 0)
        assert record.timestamp is not None
        assert abs(record.timestamp - CLOCK.wall()) < 30.0
        # Its clock counts milliseconds, and a round trip takes longer than one.
        instant = record.timestamp + 0.001
        later = [int((await clicks.put(key))[1]) for key in ("b", "c")]
        assert await _read(source, stream, shard.id, HORIZON) == [first, *later]
        assert await _read(source, stream, shard.id, Position("AT_TIMESTAMP", timestamp=instant)) == later
        assert await _read(source, stream, shard.id, Position("AT_SEQUENCE_NUMBER", str(later[0]))) == later
        assert await _read(source, stream, shard.id, Position("AFTER_SEQUENCE_NUMBER", str(later[0]))) == later[1:]
        assert await _read(source, stream, shard.id, Position("LATEST")) == []
        page = await source.read(stream, shard.id, (await source.iterator(stream, shard.id, HORIZON)).iterator, 1)
        assert [int(each.sequence_number) for each in page.records] == [first]
        assert page.next_iterator is not None
        rest = await source.read(stream, shard.id, page.next_iterator, 100)
        assert source.data_path == "direct"
        assert [int(each.sequence_number) for each in rest.records] == later
        assert rest.millis_behind_latest == 0


async def test_what_it_refuses_is_told_by_its_name(clicks: Clicks) -> None:
    source = clicks.source()
    async with source.open():
        stream = await source.resolve()
        (shard,) = (await source.list_shards(stream)).shards
        with pytest.raises(PositionRefused):
            await source.iterator(stream, shard.id, Position("AT_SEQUENCE_NUMBER", "no-number"))
        missing = KinesisSource("kinesis:no-such-stream", session=SESSION)
        async with missing.open():
            with pytest.raises(StreamMissing, match="no-such-stream"):
                await missing.resolve()


async def test_split_and_merged_shards_end_with_their_children_named(clicks: Clicks) -> None:
    source = clicks.source()
    async with source.open():
        stream = await source.resolve()
        (root,) = (await source.list_shards(stream)).shards
        written = int((await clicks.put("a"))[1])
        halves = await clicks.split(root.id)
        opened = await source.iterator(stream, root.id, HORIZON)
        children, numbers = await _to_the_end(source, stream, root.id, opened.iterator)
        if children is None and os.environ.get("LEASEHOLD_KINESIS_ENDPOINT"):
            pytest.skip("the server named is older than ChildShards in the reply at a shard's end")
        assert (numbers, {child.id for child in children}) == ([written], halves)
        assert {child.parents for child in children} == {(root.id,)}
        listing = {shard.id: shard for shard in (await source.list_shards(stream)).shards}
        assert not listing[root.id].is_open
        assert {(child.id, child.hash_range) for child in children} == {
            (each, listing[each].hash_range) for each in halves
        }
        assert {child.id for child in await source.children(stream, root.id)} == halves
        left, right = sorted(halves)
        merged = await clicks.merge(left, right)
        for half in (left, right):
            opened = await source.iterator(stream, half, HORIZON)
            (child,), _ = await _to_the_end(source, stream, half, opened.iterator)
            assert (child.id, child.parents) == (merged, (left, right))
            assert [each.id for each in await source.children(stream, half)] == [merged]


async def _to_the_end(source: KinesisSource, stream: StreamIdentity, shard_id: str, iterator: str) -> Any:
    """The children that a closed shard's last page names, and its sequence numbers."""
    numbers: list[int] = []
    for _ in range(10):
        page = await source.read(stream, shard_id, iterator, 100)
        numbers += [int(record.sequence_number) for record in page.records]
        if page.next_iterator is None:
            return page.children, numbers
        iterator = page.next_iterator
    raise AssertionError(f"{shard_id} does not end within ten pages")


# -- whole workers


@pytest.fixture
async def group(clicks: Clicks, ministack: Ministack) -> AsyncIterator[Group]:
    made = Group(ministack, clicks.ledger, clicks.source)
    yield made
    await made.close()


async def _judge_once(clicks: Clicks) -> None:
    notes = clicks.ledger.notes
    assert (lost(notes, clicks.ledger.written), repeats(notes), repeats_within_tenures(notes)) == ([], [], [])
    assert (disorder(notes), early_children(notes, await clicks.parents())) == ([], [])


async def test_two_workers_follow_a_split_and_a_merge_under_writes(clicks: Clicks, group: Group) -> None:
    ledger = clicks.ledger
    members = [await group.start(name) for name in ("ada", "bob")]
    async with clicks.written_to():
        (root,) = await clicks.parents()
        await ledger.until(lambda: ledger.of("record"), "the first record")
        left, right = sorted(await clicks.split(root))
        halves = {left, right}
        await ledger.until(lambda: halves <= {note.shard_id for note in ledger.of("record")}, "the first split")
        quarters = await clicks.split(left, str(2**126))
        await ledger.until(lambda: quarters | {right} <= {note.shard_id for note in ledger.of("record")}, "both splits")
        merged = await clicks.merge(max(quarters), right)
        await ledger.until(lambda: merged in {note.shard_id for note in ledger.of("record")}, "the merge")
    await ledger.until_all_delivered()
    await _judge_once(clicks)
    parents = await clicks.parents()
    assert set(parents[merged]) == {max(quarters), right}
    assert all(clicks.puts[shard_id] for shard_id in parents), "every shard had records"
    closed = {above for each in parents.values() for above in each}
    ended = [fact for member in members for fact in member.told(ShardEnded)]
    assert {fact.shard_id: set(fact.children) for fact in ended} == {
        shard_id: {child for child, above in parents.items() if shard_id in above} for shard_id in closed
    }
    assert {fact.reason for member in members for fact in member.told(TenureEnded)} <= {"ended", "handed_off"}
    rows = await group.leases()
    assert {key: set(lease.parents) for key, lease in rows.items()} == {key: set(p) for key, p in parents.items()}
    assert {key for key, lease in rows.items() if lease.is_finished} == closed
    assert await members[0].stop() is Outcome.CLEAN
    await group.until_held(len(parents) - len(closed))


async def test_iterators_that_expire_and_replies_that_break_cost_nothing(
    monkeypatch: pytest.MonkeyPatch, clicks: Clicks, group: Group, endpoint_url: str
) -> None:
    async with Proxy(endpoint_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", proxy.endpoint_url)
        proxy.faults.arm(
            Fault.error("ExpiredIteratorException", "GetRecords", times=2, skip=2),
            Fault.error("ProvisionedThroughputExceededException", "GetRecords"),
            Fault.half_body("GetRecords"),
            Fault.drop("GetRecords"),
            Fault.error("ExpiredIteratorException", "GetRecords"),
        )
        member = await group.start("ada")
        async with clicks.written_to():
            await clicks.ledger.until(lambda: proxy.faults.armed == (), "every fault acted")
            (root,) = await clicks.parents()
            await clicks.split(root)
        await clicks.ledger.until_all_delivered()
        await _judge_once(clicks)
        assert member.told(GapFound) == []
        await member.crash()
