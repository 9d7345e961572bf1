"""Several calls of a store at once, so that each need not wait for the reply to the one before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

__all__ = ["CALLS_AT_ONCE", "at_once"]

CALLS_AT_ONCE: Final = 8

ArgT = TypeVar("ArgT")
ResultT = TypeVar("ResultT")


async def at_once(these: Iterable[ArgT], ask: Callable[[ArgT], Awaitable[ResultT]]) -> list[ResultT]:
    """What each call gives, in their order, eight at a time; the first error, once all have ended."""
    places = asyncio.Semaphore(CALLS_AT_ONCE)

    async def one(this: ArgT) -> ResultT:
        async with places:
            return await ask(this)

    results = await asyncio.gather(*map(one, these), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
