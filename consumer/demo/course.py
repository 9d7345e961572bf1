"""One run of the demo, from the first process to the verdict."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from consumer.clock import Clock
from consumer.demo.check import Goals, Staged, Stop, Verdict, judge
from consumer.demo.children import Child, Children
from consumer.demo.journal import read_deliveries, read_writes
from consumer.demo.plain_view import View
from consumer.demo.processor import DELIVERIES, WORKER
from consumer.demo.scene import Phase, Scene, WorkerState
from consumer.demo.script import Cue, CueKind, script
from consumer.demo.stage import DemoFailed, Stage

__all__ = ["FAILOVER_SECONDS", "Course"]

FAILOVER_SECONDS: Final = 10.0
_WORKERS: Final = ("ada", "ben", "cleo")
_TICK_SECONDS: Final = 0.1
_STATE_EVERY_TICKS: Final = 5
_CATCH_UP_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 40.0
# The stop waits for the takeover, but leaves the hand-off this long before the writer's end.
_HANDOFF_ROOM_SECONDS: Final = 5.0


class Course:
    """Plays the script against the stage, shows it, and judges what the journals say in the end."""

    def __init__(
        self, stage: Stage, children: Children, view: View, folder: Path, *, seconds: float, goals: Goals, clock: Clock
    ) -> None:
        self._stage = stage
        self._children = children
        self._view = view
        self._folder = folder
        self._seconds = seconds
        self._goals = goals
        self._clock = clock
        self._journal = folder / "writes.jsonl"
        self._files = {name: folder / f"deliveries-{name}.jsonl" for name in _WORKERS}
        self._workers: dict[str, Child] = {}
        self._cues = list(script(seconds, stage.source))
        self._staged = Staged()
        self._orphans: list[str] = []
        self._ticks = 0

    async def run(self) -> Verdict:
        """Play it all. Raises DemoFailed where a process ends that should not, DamagedJournal."""
        self._workers = {name: self._start_worker(name) for name in _WORKERS}
        self._began = self._clock.monotonic()
        self._scene = Scene(self._stage.name, self._journal, self._files, began=self._began, seconds=self._seconds)
        arguments = self._stage.writer_arguments(self._journal, self._seconds, self._goals.writes)
        self._writer = self._children.start("writer", *arguments, environment=self._stage.environment)
        self._scene.states = {name: (child.pid, WorkerState.RUNNING) for name, child in self._workers.items()}
        await self._until(lambda: self._writer.exit_code is not None, 2 * self._seconds + _STOP_SECONDS)
        self._scene.phase = Phase.CATCHING_UP
        await self._until(lambda: self._scene.undelivered == 0, _CATCH_UP_SECONDS)
        await self._stop_the_rest()
        return self._judge()

    def _start_worker(self, name: str) -> Child:
        processor = "TableOrders" if self._stage.source == "dynamodb" else "StreamOrders"
        environment = self._stage.environment | {DELIVERIES: str(self._files[name]), WORKER: name}
        flags = {
            "--app": "orders-audit",
            "--lease-table": self._stage.lease_table,
            "--source": self._stage.name,
            "--initial-position": "TRIM_HORIZON",
            "--worker-id": name,
            "--failover-seconds": f"{FAILOVER_SECONDS:g}",
        }
        given = [word for flag, value in flags.items() for word in (flag, value)]
        command = ("-m", "consumer", "run", f"consumer.demo.processor:{processor}", *given)
        return self._children.start(name, *command, environment=environment)

    async def _until(self, is_over: Callable[[], bool], within_seconds: float) -> None:
        """Go on, tick by tick, until it is over, or the deadline has passed: the verdict then says what is missing."""
        deadline = self._clock.monotonic() + within_seconds
        while True:
            over = is_over()
            self._tick()
            if over or self._clock.monotonic() >= deadline:
                return
            await self._clock.sleep(_TICK_SECONDS)

    def _tick(self) -> None:
        if self._ticks % _STATE_EVERY_TICKS == 0:
            self._scene.stream = self._stage.state()
        self._ticks += 1
        self._scene.read()
        self._look_after_processes()
        now = self._clock.monotonic()
        if self._scene.phase is Phase.WRITING and self._cues and now - self._began >= self._cues[0].at:
            self._play(self._cues[0], now)
        self._view.show(self._scene.snapshot(now))

    # -- the script

    def _play(self, cue: Cue, now: float) -> None:
        """Carry out a cue that is due; one whose moment has not come stays the next."""
        if cue.kind is CueKind.KILL:
            played = self._kill()
        elif cue.kind is CueKind.STOP:
            played = self._stop(now)
        else:
            self._scene.note(now, self._stage.change(cue.kind))
            self._scene.stream = self._stage.state()
            played = True
        if played:
            self._cues.pop(0)

    def _kill(self) -> bool:
        """Kill the worker with most shards, once all are at work."""
        name = self._busiest()
        if name is None:
            return False
        self._orphans = self._scene.owned(name)
        self._workers[name].send(signal.SIGKILL)
        now = self._clock.monotonic()
        self._staged = replace(self._staged, killed=Stop(name, now))
        self._mark(name, WorkerState.KILLED)
        self._scene.note(now, f"{name} is killed with -9; it had {len(self._orphans)} shards", is_alarming=True)
        return True

    def _stop(self, now: float) -> bool:
        """Stop the worker with most shards once the killed one's are read again, or time is running out."""
        killed = self._staged.killed.worker if self._staged.killed else ""
        is_late = now - self._began >= self._seconds - _HANDOFF_ROOM_SECONDS
        if not is_late and set(self._orphans) & set(self._scene.owned(killed)):
            return False
        name = self._busiest()
        if name is None:
            return False
        held = len(self._scene.owned(name))
        now = self._clock.monotonic()
        self._workers[name].send(signal.SIGTERM)
        self._staged = replace(self._staged, stopped=Stop(name, now))
        self._mark(name, WorkerState.DRAINING)
        self._scene.note(now, f"{name} is told to stop with SIGTERM; it had {held} shards", is_alarming=True)
        return True

    def _busiest(self) -> str | None:
        """The running worker that has most shards; None while any has none."""
        running = [name for name, (_, state) in self._scene.states.items() if state is WorkerState.RUNNING]
        held = {name: len(self._scene.owned(name)) for name in running}
        return max(held, key=lambda name: held[name]) if held and all(held.values()) else None

    # -- processes

    def _mark(self, name: str, state: WorkerState) -> None:
        self._scene.states[name] = (self._workers[name].pid, state)

    def _look_after_processes(self) -> None:
        for name, child in self._workers.items():
            code, state = child.exit_code, self._scene.states[name][1]
            if code is None:
                continue
            if state is WorkerState.RUNNING:
                raise DemoFailed(f"The worker {name} ended by itself with exit code {code}. It said:\n{child.said()}")
            if state is WorkerState.DRAINING:
                self._mark(name, WorkerState.ENDED)
                self._scene.note(self._clock.monotonic(), f"{name} has ended with exit code {code}")
        if self._writer.exit_code not in (None, 0):
            raise DemoFailed(f"The writer ended with {self._writer.exit_code}. It said:\n{self._writer.said()}")
        if self._stage.server.exit_code is not None:
            raise DemoFailed(f"The stream server ended by itself. It said:\n{self._stage.server.said()}")

    async def _stop_the_rest(self) -> None:
        self._scene.phase = Phase.STOPPING
        for name, child in self._workers.items():
            if self._scene.states[name][1] is WorkerState.RUNNING:
                self._mark(name, WorkerState.DRAINING)
                child.send(signal.SIGTERM)
        await self._until(lambda: all(child.exit_code is not None for child in self._workers.values()), _STOP_SECONDS)
        self._scene.phase = Phase.DONE
        self._tick()

    def _judge(self) -> Verdict:
        """The verdict, from the files anew: nothing that this process saw on the way counts."""
        state = self._stage.state()
        staged = replace(
            self._staged,
            rotations=state.rotations,
            splits=state.splits,
            merges=state.merges,
            parents={shard.shard_id: shard.parents for shard in state.shards},
            exits={name: 1 if child.exit_code is None else child.exit_code for name, child in self._workers.items()},
        )
        return judge(read_writes(self._journal), read_deliveries(self._files.values()), staged, self._goals)
