"""One page of a listing among many: what both services share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from consumer.clock import Clock
from consumer.errors import StreamError
from consumer.retry import is_transient

__all__ = ["later_page"]

PageT = TypeVar("PageT")

_PAUSES_SECONDS: Final = (0.2, 0.8)


async def later_page(ask: Callable[[], Awaitable[PageT]], clock: Clock) -> PageT:
    """What ``ask`` answers, asked for again where that fails for a passing reason: not to lose the pages before it.

    Of the first page nothing is gained: whoever lists tries again as they see fit. Raises StreamError after the third
    failure, and at once where the place to go on from is refused.
    """
    for pause_seconds in _PAUSES_SECONDS:
        try:
            return await ask()
        except StreamError as error:
            if not is_transient(error):
                raise
        await clock.sleep(pause_seconds)
    return await ask()
