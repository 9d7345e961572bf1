"""The lease world with nothing left to chance: a test says which call is late, lost, refused or carried twice."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lease_store.errors import LeaseTableThrottled
from lease_store.lease import Lease
from lease_store.store import WriteResult
from lease_store.verbs import Write
from tests.simulation.leases.draw import Work, drawn
from tests.simulation.leases.process import SimWorker
from tests.simulation.leases.world import LeaseWorld
from tests.simulation.loop import context_of
from tests.simulation.network import Calm, Network
from tests.simulation.store import SimStore

__all__ = ["IDLE", "Fate", "Stage", "directed"]

T = TypeVar("T")

IDLE = Work(0.3, 0.0, 0.0, 0.0, 0.0, 0.0)
_READS = frozenset({"read", "scan", "beat", "read_worker", "delete_worker"})


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one call; durations in seconds.

    It takes ``there`` to arrive and ``back`` for the reply; ``lost``: the request never arrives; ``unheard``: it does,
    and no reply comes; ``refused``: an error that says *not applied*; ``again``: it arrives a second time so much
    later. ``sent`` runs when it is sent, ``arrived`` right after it has arrived (or was lost on its way).
    """

    there: float = 0.01
    back: float = 0.01
    lost: bool = False
    unheard: bool = False
    refused: bool = False
    again: float | None = None
    sent: Callable[[], object] | None = None
    arrived: Callable[[], object] | None = None


_FINE = Fate()


@dataclass(slots=True)
class _Rule:
    """Strikes ``times`` calls, from the ``nth`` on that match."""

    fate: Fate
    worker: SimWorker | None
    call: str | None
    key: str | None
    nth: int
    times: int
    struck: int = 0

    def takes(self, worker: str, call: str, key: str | None) -> bool:
        if self.times == 0 or (self.worker is not None and self.worker.name != worker):
            return False
        if (call in _READS) if self.call is None else (call != self.call):
            return False
        if self.key not in (None, key):
            return False
        if self.nth > 1:
            self.nth -= 1
            return False
        self.times -= 1
        self.struck += 1
        return True


@dataclass(frozen=True)
class Script(Network):
    """A calm network and the calls that fare otherwise."""

    rules: list[_Rule] = field(default_factory=list)

    def fate_of(self, worker: str, call: str, key: str | None) -> Fate:
        return next((rule.fate for rule in self.rules if rule.takes(worker, call, key)), _FINE)


class ScriptedStore(SimStore):
    """A worker's way to the table, each call as the script has it."""

    _key: str | None = None

    async def write(self, write: Write, *, timeout_seconds: float) -> WriteResult:
        self._key = write.key
        return await super().write(write, timeout_seconds=timeout_seconds)

    async def read(self, key: str) -> Lease | None:
        self._key = key
        return await super().read(key)

    def _send(self, call: str, act: Callable[[], T]) -> asyncio.Future[T]:
        script, key = self._network(), self._key
        assert isinstance(script, Script)
        self._key = None
        fate = script.fate_of(self._worker, call, key)
        if fate is not _FINE:
            self._table.note(f"{self._worker} {call} meets {fate}")
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def after(seconds: float, step: Callable[[], object]) -> None:
            asyncio.get_running_loop().call_later(seconds, step, context=context_of(""))

        def arrive() -> None:
            outcome = None if fate.lost or fate.refused else act()
            if fate.arrived is not None:
                fate.arrived()
            if not fate.lost and not fate.unheard:
                after(fate.back, lambda: answer(outcome))

        def answer(outcome: Any) -> None:
            if reply.done():
                return
            if fate.refused:
                reply.set_exception(LeaseTableThrottled())
            else:
                reply.set_result(outcome)

        if fate.sent is not None:
            after(0.0, fate.sent)
        after(fate.there, arrive)
        if fate.again is not None:
            after(fate.there + fate.again, act)
        return reply


class ScriptedWorker(SimWorker):
    store_type = ScriptedStore


class Stage(LeaseWorld):
    """A lease world without drawn faults; its judge watches all the same, so that every test asks for all invariants.

    Shard keys are ``00``, ``01`` and so on; shards have no end unless ``records`` says after how many records.
    """

    worker_type = ScriptedWorker

    def __init__(self, *, stale_seconds: float = 0.0, work: Work = IDLE, **draw: Any) -> None:
        calm = Calm(stale_seconds)
        self.script = Script(*(getattr(calm, name) for name in Network.__slots__))
        base = replace(drawn(0), faults="mild", network=calm, work=work, max_leases=None, drain_timeout=None)
        base = replace(base, hand_off_timeout=30.0, drift=0.0, skew=0.0, keys=1, failover=10.0)
        super().__init__(1, replace(base, **draw))

    def network_of(self, worker: SimWorker) -> Network:
        return self.script

    def calls(
        self,
        call: str | None,
        fate: Fate,
        *,
        of: SimWorker | None = None,
        key: str | None = None,
        nth: int = 1,
        times: int = 1,
    ) -> _Rule:
        """From now on the ``nth`` call of this kind (None: any write) meets ``fate``, as do ``times`` - 1 more."""
        rule = _Rule(fate, of, call, key, nth, times)
        self.script.rules.append(rule)
        return rule

    def row(self, key: str = "00") -> Lease:
        """A row as it is now."""
        row = self.table.lease(key)
        assert row is not None
        return row

    def holder(self, key: str = "00") -> str | None:
        """Who trusts a tenure of the lease, or None; that there is one at most is for the judge to see."""
        held = [(each, each.loop.leases.held.get(key)) for each in self.workers]
        return next((each.name for each, tenure in held if tenure is not None and each.trusts(tenure)), None)

    async def until(self, what: Callable[[], object], within_seconds: float) -> float:
        """Wait for ``what``; fails after ``within_seconds``. Returns how long it took."""
        began = self.loop.time()
        assert await self.passes(what, within_seconds), self.last_steps()
        return self.loop.time() - began

    async def passes(self, what: Callable[[], object], within_seconds: float) -> bool:
        """Whether ``what`` comes about in that time."""
        began = self.loop.time()
        while not what():
            assert not self.judge.violations, self.judge.violations
            if self.loop.time() >= began + within_seconds:
                return False
            await asyncio.sleep(0.05)
        return True

    def start(self, *, rate: float = 1.0) -> SimWorker:
        """One more worker, whose clock runs ``rate`` times as fast as time does."""
        worker = self.add_worker()
        worker.clock._rate = rate
        return worker

    async def owner_and_peer(self, *, owner_rate: float = 1.0, peer_rate: float = 1.0) -> tuple[SimWorker, SimWorker]:
        """A worker that holds ``00``, and one that came later and holds nothing."""
        owner = self.start(rate=owner_rate)
        await self.until(lambda: self.holder() == owner.name, 3.0)
        peer = self.start(rate=peer_rate)
        await asyncio.sleep(6.0)
        return owner, peer

    def last_steps(self, count: int = 40) -> str:
        """The end of the trace, for the reader of a failure."""
        return "\n".join(["", *list(self.judge.last_steps)[-count:]])


def directed(
    *, every_rule_strikes: bool = True, **draw: Any
) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """A test that takes a ``Stage`` first, played on a simulated loop; ``draw`` are fields of ``LeaseDraw``.

    A rule that no call met is a failure, unless ``every_rule_strikes`` is False: what it is about did not happen.
    """

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        def run(**arguments: Any) -> None:
            stage = Stage(**draw)
            logging.disable(logging.CRITICAL)
            try:
                stage.play(test(stage, **arguments))
            finally:
                logging.disable(logging.NOTSET)
            assert not stage.judge.violations, "\n".join([*stage.judge.violations, stage.last_steps()])
            idle = [rule for rule in stage.script.rules if not rule.struck]
            assert not (idle and every_rule_strikes), f"no call met {idle}"

        functools.update_wrapper(run, test, assigned=("__name__", "__doc__", "__module__"))
        run.__dict__.pop("__wrapped__", None)
        wanted = list(inspect.signature(test).parameters.values())[1:]
        run.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]  # what pytest reads
        return run

    return decorate
