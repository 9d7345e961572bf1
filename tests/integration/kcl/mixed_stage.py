"""A fleet of Java and Python members on one lease table, with records written all the while and all of it noted.

Leases are in ministack behind a proxy for each member, so that it is known who wrote what and when; the stream is the
project's own server, where a fresh start after a split is sound.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from uuid import uuid4

import boto3

from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Exchange, Proxy
from consumer.testing.server_thread import StreamServerThread
from tests.chaos.streams import Clicks
from tests.integration.kcl import java
from tests.integration.kcl.timers import Timers
from tests.integration.ledger import CLOCK, Ledger, Note
from tests.integration.process_stage import Process, Processes
from tests.integration.worker_stage import Orders

__all__ = ["REGION", "MixedFleet", "Row", "mixed_fleet"]

T = TypeVar("T")
Row = dict[str, dict[str, Any]]
Language = Literal["java", "python"]

REGION: Final = "us-east-1"
_KEYS: Final = 32
_DATA_BYTES: Final = 200
_POLL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Held:
    """Who has a lease by its row: the actual owner, and who is next while a hand-off is pending."""

    owner: str | None
    following: str | None
    is_finished: bool


class _Records(Clicks):
    """Data of a length at which a shard's throughput says how many records it carries."""

    def _append(self, key: str, version: int) -> None:
        self.streams.put_record(self.table, key, f"{version:0{_DATA_BYTES}}".encode())


class MixedFleet:
    """Members by name, no name with a hyphen; ``noted`` is told of every exchange of a member with the table."""

    def __init__(
        self,
        folder: Path,
        ministack: Ministack,
        streams: StreamServerThread,
        stack: AsyncExitStack,
        *,
        edition: str,
        timers: Timers,
        shard_count: int = 4,
    ) -> None:
        self.edition = edition
        self.timers = timers
        self.ledger = Ledger()
        self.streams = streams
        made, name = (Orders, "orders") if edition == "adapter" else (_Records, "clicks")
        self.stream = made(streams, self.ledger, name, shard_count=shard_count)
        self.app = f"app{uuid4().hex[:12]}"
        self.proxies: dict[str, Proxy] = {}
        self.languages: dict[str, Language] = {}
        self.exchanges: list[tuple[str, Exchange]] = []
        self._stack = stack
        self._ministack = ministack
        flags = ("--source", self.stream.arn, "--app", self.app, "--initial-position", "TRIM_HORIZON")
        environment = ministack.environment | {
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": streams.endpoint_url,
            "AWS_ENDPOINT_URL_KINESIS": streams.endpoint_url,
        }
        self.processes = Processes(folder, environment, self.ledger, *flags)
        self.table: Any = boto3.client(
            "dynamodb",
            endpoint_url=ministack.endpoint_url,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    @property
    def has_leader(self) -> bool:
        """Whether this edition coordinates by a leader's lock."""
        return self.edition != "kcl-2.7.2"

    @property
    def joinable(self) -> Mapping[str, str]:
        """What Python members must be told where they make a table that this edition is to join.

        Before 3.5 a KCL starts only on a table that holds nothing but leases: 3.3.0 gives up after 20 attempts.
        """
        return {} if self.edition == "kcl-3.5.1" else {"LEASEHOLD_COORDINATION": "2x"}

    # -- members

    async def start_java(
        self,
        name: str,
        *,
        edition: str | None = None,
        position: str = "TRIM_HORIZON",
        checkpoint: str = "batch",
        cpu_percent: float | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Process:
        """A Java member, of another edition where one is named; ``settings`` are added to those of the timers."""
        edition = edition or self.edition
        java.build(edition)
        proxy = await self._proxy(name, "java")
        options = java.JavaOptions(
            app=self.app,
            worker=name,
            stream=self.stream.arn if edition == "adapter" else self.stream.table,
            table_endpoint=proxy.endpoint_url,
            stream_endpoint=self.streams.endpoint_url,
            region=REGION,
            position=position,
            checkpoint=checkpoint,
            cpu_percent=cpu_percent,
            settings={**self.timers.java(edition), **(settings or {})},
        )
        return self.processes.launch(name, java.command(edition, options))

    async def start_python(self, name: str, **environment: str) -> Process:
        """A `leasehold run` process; ``environment`` is for it alone."""
        proxy = await self._proxy(name, "python")
        told = {"AWS_ENDPOINT_URL_DYNAMODB": proxy.endpoint_url, **self.timers.python(), **environment}
        return self.processes.start(name, **told)

    async def _proxy(self, name: str, language: Language) -> Proxy:
        self.languages[name] = language
        proxy = self.proxies[name] = Proxy(self._ministack.endpoint_url)
        proxy.answered = lambda exchange: self.exchanges.append((name, exchange))
        return await self._stack.enter_async_context(proxy)

    def name_of(self, worker_id: str | None) -> str | None:
        """The member of that worker id: a Python worker's carries a nonce behind a hyphen."""
        if worker_id is None or worker_id in self.languages:
            return worker_id
        return worker_id.rpartition("-")[0]

    def running(self, language: Language | None = None) -> list[Process]:
        """The members that run."""
        return [
            each for each in self.processes.all if not each.has_ended and language in (None, self.languages[each.name])
        ]

    # -- the table

    def rows(self, suffix: str = "") -> list[Row]:
        """Every row of the lease table, or of a legacy table by its suffix; none where there is no table."""
        try:
            found: list[Row] = self.table.scan(TableName=self.app + suffix, ConsistentRead=True)["Items"]
        except self.table.exceptions.ResourceNotFoundException:
            return []
        return found

    def other_rows(self) -> list[str]:
        """The keys of the lease table's rows that are no leases."""
        return [row["leaseKey"]["S"] for row in self.rows() if "leaseCounter" not in row]

    def leases(self) -> dict[str, Held]:
        """Every lease by its key, with the members' names."""
        return {row["leaseKey"]["S"]: self._held(row) for row in self.rows() if "leaseCounter" in row}

    def _held(self, row: Row) -> Held:
        owner, pending = (self.name_of(row.get(name, {}).get("S")) for name in ("leaseOwner", "checkpointOwner"))
        is_finished = row["checkpoint"]["S"] == "SHARD_END"
        return Held(pending or owner, owner if pending else None, is_finished)

    def shares(self) -> dict[str, set[str]]:
        """The unfinished shards of each running member that are its own and not on their way elsewhere."""
        shares: dict[str, set[str]] = {each.name: set() for each in self.running()}
        for key, held in self.leases().items():
            if held.owner in shares and held.following is None and not held.is_finished:
                shares[held.owner].add(key)
        return shares

    # -- waiting

    async def until(self, reached: Callable[[], T], what: str, within_seconds: float) -> T:
        """The first true value of ``reached``, looked for four times a second."""
        deadline = CLOCK.monotonic() + within_seconds
        while not (value := reached()):
            if CLOCK.monotonic() > deadline:
                raise AssertionError(f"Not within {within_seconds:g} s: {what}. {self.state()}")
            await CLOCK.sleep(_POLL_SECONDS)
        return value

    async def until_shared(self, within_seconds: float, *, least: int = 1) -> dict[str, set[str]]:
        """Until each running member owns at least ``least`` shards and has been given a record of each it owns."""

        def reached() -> dict[str, set[str]]:
            shares = self.shares()
            enough = all(len(shards) >= least for shards in shares.values())
            read = {(note.worker, note.shard_id) for note in self.ledger.of("record")}
            at_work = all((name, shard) in read for name, shards in shares.items() for shard in shards)
            return shares if shares and enough and at_work else {}

        return await self.until(reached, f"at least {least} shards read by each member", within_seconds)

    async def until_read_elsewhere(
        self, shards: set[str], than: str, since: float, within_seconds: float
    ) -> dict[str, float]:
        """Seconds from ``since`` to the first record of each of ``shards`` that another member was given."""

        def first_reads() -> dict[str, float]:
            first: dict[str, float] = {}
            for note in self.ledger.of("record"):
                if note.worker != than and note.at > since and note.shard_id in shards:
                    first[note.shard_id] = min(note.at - since, first.get(note.shard_id, note.at))
            return first if first.keys() == shards else {}

        return await self.until(first_reads, f"the shards of {than} read elsewhere", within_seconds)

    async def until_owned_by_one(self, name: str, within_seconds: float) -> None:
        """Until every unfinished lease is this member's."""

        def reached() -> bool:
            return all(
                held.owner == name and held.following is None for held in self.leases().values() if not held.is_finished
            )

        await self.until(reached, f"every lease with {name}", within_seconds)

    def written_to(self, per_second: float = 40.0) -> AbstractAsyncContextManager[None]:
        """Records come, one key after the other, for as long as this is entered."""
        return self.stream.written_to(_KEYS, per_second)

    def state(self) -> str:
        """Who has what, for a message."""
        leases = {key: (held.owner, held.following) for key, held in self.leases().items() if not held.is_finished}
        waiting = len(self.ledger.written) - len(self.ledger.delivered)
        return f"leases {leases}, {len(self.ledger.written)} written, {waiting} not delivered"

    def keep(self, folder: Path) -> None:
        """Write what is known of this fleet, for a second look: each exchange with the table, each note."""
        with (folder / "exchanges.jsonl").open("w") as lines:
            for name, each in self.exchanges:
                reply = each.reply.body.decode(errors="replace") if each.reply is not None else None
                told = [round(each.at, 3), name, each.request.operation, each.fields, reply]
                lines.write(json.dumps(told, default=repr) + "\n")
        with (folder / "notes.jsonl").open("w") as lines:
            lines.writelines(json.dumps(astuple(note)) + "\n" for note in self.ledger.notes)

    def java_errors(self) -> dict[str, list[str]]:
        """The ERROR lines of each Java member."""
        said = {
            each.name: java.error_lines(each.said())
            for each in self.processes.all
            if self.languages[each.name] == "java"
        }
        return {name: lines for name, lines in said.items() if lines}

    def is_expected_error(self, line: str) -> bool:
        """Whether a fleet of Java members alone logs it, too: the adapter's hash ranges cover nothing, by design."""
        return self.edition == "adapter" and "Incomplete hash range found" in line

    def told(self, process: Process, kind: str) -> Sequence[Note]:
        """What a member's user code was told of one kind."""
        return self.ledger.of(kind, worker=process.name)


@asynccontextmanager
async def mixed_fleet(folder: Path, ministack: Ministack, edition: str, timers: Timers) -> AsyncIterator[MixedFleet]:
    """A fleet without members yet; all processes are gone at the exit."""
    java.build(edition)
    async with AsyncExitStack() as stack:
        streams = stack.enter_context(StreamServerThread(region=REGION))
        fleet = MixedFleet(folder, ministack, streams, stack, edition=edition, timers=timers)
        try:
            yield fleet
        finally:
            fleet.processes.close()  # before the servers they talk to
