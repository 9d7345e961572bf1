"""An aiobotocore session whose calls are answered without a network, through botocore's whole way of parsing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.session import AioSession
from botocore.awsrequest import HeadersDict

__all__ = ["Canned", "NoWaitClock", "Reply"]


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
    """Answers every call of ``session`` with ``reply(operation)``; ``calls`` counts them."""

    def __init__(self) -> None:
        self.reply: Callable[[str], Reply] = lambda _: Reply(b"{}")
        self.calls = 0
        self.session = AioSession()
        self.session.set_credentials("access", "secret")
        self.session.set_config_variable("region", "eu-west-1")
        self.session.register("before-send", self._answer)

    def _answer(self, request: Any, event_name: str, **_: Any) -> AioAWSResponse:
        self.calls += 1
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
