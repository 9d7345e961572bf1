"""An aiobotocore session whose calls are answered without a network, through botocore's whole way of parsing, and the
loop on which the tests of one module ask through it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Self, TypeVar

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.session import AioSession
from botocore.awsrequest import HeadersDict

from lease_store.errors import LeaseholdError

__all__ = ["Canned", "CannedBench", "NoWaitClock", "Reply", "outcome"]

T = TypeVar("T")

_LONGEST_SECONDS: Final = 10.0


class _Body:
    """What a response reads its content from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        return self._content

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._content


class Reply:
    """One HTTP reply: a status, a body, and the headers that a service would send with it."""

    def __init__(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.body = body
        self.status = status
        self.headers = {"content-type": "application/x-amz-json-1.0", "content-length": str(len(body)), **headers}


class Canned:
    """Answers every call of ``session`` with ``reply(operation)``; ``calls`` counts them, ``asked`` is the last one."""

    def __init__(self) -> None:
        self.reply: Callable[[str], Reply] = lambda _: Reply(b"{}")
        self.calls = 0
        self.asked: Any = None
        self.session = AioSession()
        self.session.set_credentials("access", "secret")
        self.session.set_config_variable("region", "eu-west-1")
        self.session.register("before-send", self._answer)

    def _answer(self, request: Any, event_name: str, **_: Any) -> AioAWSResponse:
        self.calls += 1
        self.asked = json.loads(request.body)
        answer = self.reply(event_name.rpartition(".")[2])
        return AioAWSResponse(request.url, answer.status, HeadersDict(answer.headers), _Body(answer.body))


class NoWaitClock:
    """A clock on which a wait is over at once: nothing of a reply may decide how long the reader waits for real."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._ticks = itertools.count()

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return 1_800_000_000.0 + self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)


async def outcome(work: Awaitable[Any]) -> Any:
    """What ``work`` returns, or the error of ours that it raises; anything else is raised."""
    try:
        return await work
    except LeaseholdError as error:
        return error


class CannedBench:
    """What is opened here stays open until the bench is left, on a loop of its own; ``canned`` answers its calls."""

    def __init__(self) -> None:
        self.canned = Canned()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def open(self, opened: AbstractAsyncContextManager[T]) -> T:
        """Enter it for as long as the bench stands."""
        return self._runner.run(self._stack.enter_async_context(opened))

    def run(self, work: Awaitable[T]) -> T:
        """What ``work`` returns or raises; a hang fails."""

        async def main() -> T:
            async with asyncio.timeout(_LONGEST_SECONDS):
                return await work

        return self._runner.run(main())
