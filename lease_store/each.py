"""Many calls of one kind at once, where one that fails must not fail the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from lease_store.errors import LeaseStoreError

__all__ = ["each_by_itself"]

A = TypeVar("A")
T = TypeVar("T")


async def each_by_itself(these: Iterable[A], ask: Callable[[A], Awaitable[T]]) -> list[T | LeaseStoreError]:
    """What each call gives, in their order; a LeaseStoreError that one raises is its value."""

    async def one(this: A) -> T | LeaseStoreError:
        try:
            return await ask(this)
        except LeaseStoreError as error:
            return error

    return list(await asyncio.gather(*map(one, these)))
