"""One long run of real worker processes, to which the plan's rounds happen; what was recorded is to be judged."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final, Literal

from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Exchange, Proxy
from consumer.testing.server_thread import StreamServerThread
from tests.chaos.plan import Change, Round, SourceKind, Stop, StopKind, Trouble, TroubleKind, drawn_rounds
from tests.chaos.recording import Recording, Spoilt, Stopped
from tests.chaos.streams import carry_out, stream_of
from tests.integration.ledger import CLOCK, Ledger
from tests.integration.process_stage import Process, Processes
from tests.integration.table_history import refused, stored_by

__all__ = ["FAILOVER_SECONDS", "ROUND_SECONDS", "Campaign"]

FAILOVER_SECONDS: Final = 2.0
ROUND_SECONDS: Final = 6.0
_SLOTS: Final = ("ada", "bob", "cleo", "dan")
_KEYS: Final = 64
_WRITES_PER_SECOND: Final = 80.0
_START_SECONDS: Final = 60.0
_CATCH_UP_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 60.0
_REPLACED_AFTER_SECONDS: Final = 0.3

Condition = Literal["running", "frozen", "draining", "killed"]


@dataclass(slots=True)
class _Member:
    """A process, what was done to it last, and the proxies between it and its servers, by side."""

    process: Process
    proxies: dict[str, Proxy]
    condition: Condition = "running"
    stopped: list[Stopped] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.process.name


class Campaign:
    """Four processes of one app and their servers; a process that ends is replaced.

    Made on the loop that runs it. ``folder`` takes the processes' logs. Every process is gone when ``run`` ends, in
    whichever way.
    """

    def __init__(self, source: SourceKind, seed: int, *, ministack: Ministack, folder: Path) -> None:
        self.recording = Recording(source, seed, FAILOVER_SECONDS)
        self._ministack = ministack
        self._folder = folder
        self._ledger = Ledger()
        self._members: list[_Member] = []
        self._done: Counter[str] = Counter()
        self._spoilt: Counter[str] = Counter()
        self._ending = False

    async def run(self, rounds: int, progress: Callable[[str], None]) -> Recording:
        """Play ``rounds``, let everything be delivered, stop all workers; what was recorded, to be judged.

        What should have come and did not within a minute is for the judge to find missing.
        """
        recording = self.recording
        began = CLOCK.monotonic()
        with StreamServerThread() as streams:
            self._stream = stream_of(recording.source, streams, self._ledger)
            environment = self._ministack.environment | {"LEASEHOLD_FAILOVER_SECONDS": f"{FAILOVER_SECONDS:g}"}
            flags = ("--source", self._stream.arn, "--app", "chaos", "--lease-table", self._lease_table())
            flags += ("--initial-position", "TRIM_HORIZON")
            self._processes = Processes(self._folder, environment, self._ledger, *flags)
            try:
                async with asyncio.TaskGroup() as slots:
                    for slot in _SLOTS:
                        slots.create_task(self._keep(slot))
                    await self._play_all(rounds, progress)
            finally:
                self._processes.close()
        recording.seconds = CLOCK.monotonic() - began
        recording.notes, recording.written = self._ledger.notes, self._ledger.written
        recording.done, recording.spoilt = dict(self._done), dict(self._spoilt)
        said = {each.name: each.said() for each in self._processes.all}
        recording.tracebacks = [name for name, words in said.items() if "Traceback" in words]
        recording.unborn = [name for name, words in said.items() if not words]
        return recording

    def _lease_table(self) -> str:
        """One of its own: campaigns may share a ministack."""
        return f"chaos-{self.recording.source}-{self.recording.seed}"

    async def _play_all(self, rounds: int, progress: Callable[[str], None]) -> None:
        drawn = drawn_rounds(
            self.recording.seed,
            self.recording.source,
            round_seconds=ROUND_SECONDS,
            failover_seconds=FAILOVER_SECONDS,
        )
        async with self._stream.written_to(_KEYS, _WRITES_PER_SECOND):
            await self._ledger.until(self._all_at_work, "four workers with shards", _START_SECONDS)
            for number, each in enumerate(islice(drawn, rounds), 1):
                await self._play(each)
                self.recording.rounds = number
                progress(f"{self.recording.source} round {number}/{rounds}: {each} | {self._state()}")
        await self._until(self._all_delivered, _CATCH_UP_SECONDS)
        self._ending = True
        for member in self._members:
            if member.condition == "running":
                self._send(member, StopKind.TERM)
        await self._until(lambda: not self._members, _DRAIN_SECONDS)
        progress(f"{self.recording.source} at rest: {self._state()}")

    async def _until(self, reached: Callable[[], bool], within_seconds: float) -> None:
        """Until it is so, or the time is up."""
        deadline = CLOCK.monotonic() + within_seconds
        while not reached() and CLOCK.monotonic() < deadline:
            await CLOCK.sleep(0.1)

    def _all_at_work(self) -> bool:
        return len(self._members) == len(_SLOTS) and all(map(self._has_shards, self._members))

    def _all_delivered(self) -> bool:
        return len(self._ledger.delivered) >= len(self._ledger.written)

    def _has_shards(self, member: _Member) -> bool:
        return bool(self._processes.shards_of(member.process))

    def _state(self) -> str:
        self.recording.parents |= self._stream.parents()
        given = len(self._ledger.of("record"))
        waiting = len(self._ledger.written) - len(self._ledger.delivered)
        up = sum(member.condition in ("running", "frozen") for member in self._members)
        return (
            f"{up} up, {len(self._ledger.written)} written, {waiting} on their way, "
            f"{given - len(self._ledger.delivered)} repeated, {self.recording.refused} writes refused"
        )

    # -- processes

    async def _keep(self, slot: str) -> None:
        """A process in this place, and the next one when it has ended."""
        life = 0
        while not self._ending:
            life += 1
            await self._live(f"{slot}{life}")
            await CLOCK.sleep(_REPLACED_AFTER_SECONDS)

    async def _live(self, name: str) -> None:
        async with AsyncExitStack() as stack:
            proxies = {side: await stack.enter_async_context(self._proxy(name, side)) for side in ("table", "stream")}
            process = self._processes.start(
                name,
                AWS_ENDPOINT_URL_DYNAMODB=proxies["table"].endpoint_url,
                AWS_ENDPOINT_URL_DYNAMODB_STREAMS=proxies["stream"].endpoint_url,
                AWS_ENDPOINT_URL_KINESIS=proxies["stream"].endpoint_url,
            )
            stack.callback(process.kill)  # before its proxies: they wait for their last calls
            member = _Member(process, proxies)
            self._members.append(member)
            self.recording.exits[name] = await asyncio.shield(process.code)
            self._members.remove(member)
        for proxy in proxies.values():
            self._spoilt.update({str(kind): count for kind, count in proxy.faults.fired.items()})

    def _proxy(self, name: str, side: str) -> Proxy:
        upstream = self._ministack.endpoint_url if side == "table" else self._stream.streams.endpoint_url
        proxy = Proxy(upstream)
        proxy.faults.rng = Random(f"{self.recording.seed} {name} {side}")
        if side == "table":
            proxy.answered = lambda exchange: self._note(name, exchange)
        return proxy

    def _note(self, name: str, exchange: Exchange) -> None:
        self.recording.refused += refused(exchange)
        self.recording.writes += stored_by(name, exchange)

    # -- a round

    async def _play(self, drawn: Round) -> None:
        async with asyncio.TaskGroup() as happening:
            for stop in drawn.stops:
                happening.create_task(self._stop(stop))
            for trouble in drawn.troubles:
                happening.create_task(self._trouble(trouble))
            for change in drawn.changes:
                happening.create_task(self._change(change))
            await CLOCK.sleep(ROUND_SECONDS)

    async def _stop(self, stop: Stop) -> None:
        await CLOCK.sleep(stop.at)
        member = self._victim(stop)
        if member is None:
            self._done["stops left out, too few workers"] += 1
            return
        self._done[stop.kind] += 1
        stopped = self._send(member, stop.kind)
        if stop.kind is StopKind.FREEZE:
            await CLOCK.sleep(stop.seconds)
            if not member.process.has_ended:
                stopped.woken_at = member.process.send(signal.SIGCONT)
                member.condition = "running"

    def _victim(self, stop: Stop) -> _Member | None:
        """Who it is: one that has shards, sooner than one that just starts; a draining one may be killed, too.

        Two are always left in peace.
        """
        running = [member for member in self._members if member.condition == "running"]
        open_to = [member for member in running if self._has_shards(member)] or running
        if stop.kind is StopKind.KILL:
            open_to += [member for member in self._members if member.condition == "draining"]
        if len(running) <= 2 or not open_to:
            return None
        return sorted(open_to, key=lambda member: member.name)[int(stop.pick * len(open_to))]

    def _send(self, member: _Member, kind: StopKind) -> Stopped:
        numbers = {StopKind.KILL: signal.SIGKILL, StopKind.FREEZE: signal.SIGSTOP, StopKind.TERM: signal.SIGTERM}
        conditions: dict[StopKind, Condition] = {
            StopKind.KILL: "killed",
            StopKind.FREEZE: "frozen",
            StopKind.TERM: "draining",
        }
        member.condition = conditions[kind]
        stopped = Stopped(member.name, kind, member.process.send(numbers[kind]))
        self.recording.stopped.append(stopped)
        return stopped

    async def _trouble(self, trouble: Trouble) -> None:
        await CLOCK.sleep(trouble.at)
        members = sorted(self._members, key=lambda member: member.name)
        if trouble.pick is not None:
            members = members[int(trouble.pick * len(members)) :][:1]
        plans = [member.proxies[trouble.side].faults for member in members]
        began = CLOCK.monotonic()
        for plan in plans:
            plan.arm(_fault(trouble))
        await CLOCK.sleep(trouble.seconds)
        for plan in plans:
            plan.clear()
        ended = CLOCK.monotonic()
        self.recording.troubles += [Spoilt(member.name, trouble.kind, trouble.side, began, ended) for member in members]

    async def _change(self, change: Change) -> None:
        await CLOCK.sleep(change.at)
        self._done[carry_out(self._stream, change)] += 1


def _fault(trouble: Trouble) -> Fault:
    often = {"times": None, "probability": trouble.probability}
    match trouble.kind:
        case TroubleKind.CUT | TroubleKind.CUT_OFF:
            return Fault.drop(applied=trouble.applied, **often)
        case TroubleKind.STALL | TroubleKind.LATE:
            return Fault.delay(trouble.stall_seconds, applied=trouble.applied, **often)
        case TroubleKind.HALF:
            return Fault.half_body(**often)
