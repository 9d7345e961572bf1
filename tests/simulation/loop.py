"""A virtual loop on which whole workers can be frozen or killed: their callbacks are set aside, their clocks run on."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, Final

from consumer.testing.virtual_time import Stalled, VirtualClock, VirtualTimeLoop

__all__ = ["WORKER", "SimClock", "SimLoop", "spawn_as"]

WORKER: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("worker", default="")
_MOST_STEPS_AT_ONE_INSTANT: Final = 50_000


def spawn_as(name: str, work: Any) -> asyncio.Task[Any]:
    """Run ``work`` as worker ``name`` (empty: the world, which nothing freezes); what it starts belongs to it too."""
    context = contextvars.Context()
    context.run(WORKER.set, name)
    return asyncio.get_running_loop().create_task(work, context=context)


class SimLoop(VirtualTimeLoop):
    """Callbacks of a frozen worker wait until it thaws, those of a killed one for ever: no clean-up code runs in it."""

    def __init__(self, seed: int, *, limit_seconds: float) -> None:
        super().__init__(seed, limit_seconds=limit_seconds)
        self._aside: dict[str, list[Any]] = {}
        self._last_instant = 0.0
        self._steps_before = 0

    def freeze(self, name: str) -> None:
        self._aside.setdefault(name, [])

    def thaw(self, name: str) -> None:
        self._ready.extend(self._aside.pop(name, []))  # type: ignore[attr-defined]

    def thaw_all(self) -> None:
        for name in list(self._aside):
            self.thaw(name)

    def _run_once(self) -> None:
        self._set_aside()
        super()._run_once()
        if self.time() != self._last_instant:
            self._last_instant, self._steps_before = self.time(), self.steps
        elif self.steps - self._steps_before > _MOST_STEPS_AT_ONE_INSTANT:
            raise Stalled(f"A hot loop: {_MOST_STEPS_AT_ONE_INSTANT} steps at virtual second {self.time():.3f}.")

    def _jump(self) -> None:
        while not self._ready:  # type: ignore[attr-defined]
            super()._jump()
            self._set_aside()

    def _set_aside(self) -> None:
        if not self._aside:
            return
        ready = self._ready  # type: ignore[attr-defined]
        for _ in range(len(ready)):
            handle = ready.popleft()
            worker = "" if handle._context is None else handle._context.get(WORKER, "")
            self._aside.get(worker, ready).append(handle)


class SimClock(VirtualClock):
    """Rounds every wait up by a nanosecond: under drift, a wait for ``due - now`` must not end just before ``due``."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + 1e-9 if seconds > 0 else seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return super().timeout(None if seconds is None else seconds + 1e-9)
