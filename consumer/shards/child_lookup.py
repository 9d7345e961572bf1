"""Finding the children of shards that end, with as few calls as the fleet can afford: one listing may answer many."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from consumer.streams.source import Shard, ShardListing, StreamIdentity

__all__ = ["ChildLookup"]

# DescribeStream shows at most so many shards a page, and each page is a call (AWS: 10 calls a second for a stream).
_SHARDS_A_PAGE: Final = 100

Ask = Callable[[StreamIdentity, str], Awaitable[tuple[Shard, ...]]]
List = Callable[[StreamIdentity], Awaitable[ShardListing]]


class ChildLookup:
    """Answers "which shards follow this one?" for all shards of one worker, one question of the service at a time.

    While few ask, each is asked for by itself (``ask``); where a whole listing (``list_shards``) costs fewer calls than
    the questions that wait, it answers all of them. Whoever asks meanwhile is answered by the next one.
    """

    def __init__(self, ask: Ask, list_shards: List) -> None:
        self._ask = ask
        self._list_shards = list_shards
        self._waiting: dict[tuple[StreamIdentity, str], asyncio.Future[tuple[Shard, ...]]] = {}
        self._serving: asyncio.Task[None] | None = None
        self._pages = 1

    async def children(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        """The children of ``shard_id``; empty where the service shows none yet. Raises StreamError."""
        question = (stream, shard_id)
        answer = self._waiting.get(question)
        if answer is None:
            answer = self._waiting[question] = asyncio.get_running_loop().create_future()
            if self._serving is None or self._serving.done():
                self._serving = asyncio.ensure_future(self._serve())
        return await asyncio.shield(answer)

    async def stop(self) -> None:
        """Ask nothing more; questions that wait are cancelled."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
        for answer in self._waiting.values():
            answer.cancel()
        self._waiting.clear()

    async def _serve(self) -> None:
        while self._waiting:
            stream, shard_id = next(iter(self._waiting))
            same = [question for question in self._waiting if question[0] == stream]
            if len(same) <= self._pages:
                await self._answer([(stream, shard_id)], self._one(stream, shard_id))
            else:
                await self._answer(same, self._all(stream))

    async def _one(self, stream: StreamIdentity, shard_id: str) -> tuple[Shard, ...]:
        return await self._ask(stream, shard_id)

    async def _all(self, stream: StreamIdentity) -> tuple[Shard, ...]:
        shards = (await self._list_shards(stream)).shards
        self._pages = max(1, math.ceil(len(shards) / _SHARDS_A_PAGE))
        return shards

    async def _answer(self, questions: list[tuple[StreamIdentity, str]], reply: Awaitable[tuple[Shard, ...]]) -> None:
        answers = {question: self._waiting[question] for question in questions}
        try:
            shards = await reply
        except Exception as error:
            for answer in answers.values():
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()  # asked for by a shard that may have gone: not worth a warning
        else:
            for (_, shard_id), answer in answers.items():
                if not answer.done():
                    answer.set_result(tuple(shard for shard in shards if shard_id in shard.parents))
        finally:
            for question, answer in answers.items():
                self._waiting.pop(question, None)
                answer.cancel()  # only where this was cancelled before there was an answer
