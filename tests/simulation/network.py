"""The way between a worker and the simulated table: what may strike a call, and the course that it takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lease_store.errors import LeaseTableThrottled, LeaseTableUnreachable
from tests.simulation.loop import context_of

__all__ = ["Calm", "Journey", "Network"]

_REFUSALS: Final = (LeaseTableThrottled, LeaseTableUnreachable)
_WORLD: Final = context_of("")


@dataclass(frozen=True, slots=True)
class Network:
    """What may happen to a call, each with odds of its own. All names but the first two are fault sites.

    ``late``: up to ``late_seconds`` on either way; ``lost_request``, ``lost_reply``: no reply ever; ``refused``: an
    error that says *not applied*; ``doubled``: carried twice; ``cut``: the connection breaks under it, which the caller
    hears at once, while the request may still arrive; ``rowless``: a refusal comes without the row in the way, which is
    then read. Scans show each row as it was up to ``stale_seconds`` ago, each row by a lag of its own.

    ``sites`` are odds of single places that replace the general ones: ``{"renew.lost_reply": 0.25}``.
    """

    least_seconds: float
    usual_seconds: float
    late: float
    late_seconds: float
    lost_request: float
    lost_reply: float
    refused: float
    doubled: float
    stale_seconds: float
    cut: float = 0.0
    rowless: float = 0.0
    sites: Mapping[str, float] = field(default_factory=dict)

    def odds(self, call: str, what: str) -> float:
        """The odds that ``what`` strikes at this call."""
        general: float = getattr(self, what)
        return self.sites.get(f"{call}.{what}", general) if self.sites else general

    def delay(self, draw: random.Random, late: float) -> float:
        """One way of one call."""
        if draw.random() < late:
            return draw.uniform(0.0, self.late_seconds)
        return draw.uniform(self.least_seconds, self.usual_seconds)


def Calm(stale_seconds: float = 0.0, usual_seconds: float = 0.02) -> Network:
    """Nothing goes wrong; scans may still be stale."""
    return Network(0.001, usual_seconds, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, stale_seconds)


class Journey:
    """One call on its way: when it arrives, when its reply does, and what strikes it on either."""

    def __init__(
        self, network: Network, draw: random.Random, strikes: Callable[[str], bool], late: float, act: Callable[[], Any]
    ) -> None:
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._act = act
        self._back = network.delay(draw, late)
        self._is_lost = strikes("lost_request")
        self._refusal = draw.choice(_REFUSALS) if strikes("refused") else None
        self._is_reply_lost = strikes("lost_reply")
        there = network.delay(draw, late)
        self._after(there, self._arrive)
        if strikes("cut"):
            self._after(draw.uniform(0.0, there + self._back), self._cut)
        # A refused one is not carried twice: an error says that it was surely not applied.
        if self._refusal is None and strikes("doubled"):
            self._after(network.delay(draw, late), act)

    def _after(self, seconds: float, step: Callable[..., Any], *args: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, step, *args, context=_WORLD)

    def _arrive(self) -> None:
        if self._is_lost:
            return
        if self._refusal is not None:
            self._after(self._back, self._answer, None, self._refusal())
            return
        outcome = self._act()
        if not self._is_reply_lost:
            self._after(self._back, self._answer, outcome, None)

    def _cut(self) -> None:
        self._answer(None, ConnectionResetError())

    def _answer(self, outcome: Any, error: Exception | None) -> None:
        if self.reply.done():
            return
        if error is None:
            self.reply.set_result(outcome)
        else:
            self.reply.set_exception(error)
