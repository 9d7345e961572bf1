"""The clients that one event loop has to a table's service, and what it remembers of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import xform_name

from lease_store.store import MOST_AT_ONCE
from lease_store.strict_parser import reading_with
from lease_store.table_parser import TableParser

__all__ = ["Connections"]

# A write's own time-out is the caller's and shorter; these end calls that were given none, three attempts within 15 s.
_CONNECT_TIMEOUT_SECONDS: Final = 2.0
_READ_TIMEOUT_SECONDS: Final = 4.0
_READ_ATTEMPTS: Final = 3


class Connections:
    """The clients of one loop: one that tries once, for writes, and one that tries again, for what may be repeated."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.endpoint_url: str | None = None
        self._clients: tuple[Any, Any] | None = None
        self._stack = AsyncExitStack()
        self._absent: dict[str, float] = {}

    @property
    def is_open(self) -> bool:
        return self._clients is not None

    async def open(self, session: AioSession, region_name: str | None, endpoint_url: str | None) -> None:
        async def client(attempts: int) -> Any:
            config = AioConfig(
                connect_timeout=_CONNECT_TIMEOUT_SECONDS,
                read_timeout=_READ_TIMEOUT_SECONDS,
                retries={"total_max_attempts": attempts, "mode": "standard"},
                max_pool_connections=MOST_AT_ONCE,
                # Requests are rendered in one place and held to the model by tests: half a batch's cost of sending.
                parameter_validation=False,
            )
            context = session.create_client(
                "dynamodb", region_name=region_name, endpoint_url=endpoint_url, config=config
            )
            return await self._stack.enter_async_context(context)

        session = reading_with(session, TableParser)
        once, retrying = await client(1), await client(_READ_ATTEMPTS)
        self.endpoint_url = once.meta.endpoint_url
        self._clients = once, retrying

    async def close_unused(self) -> None:
        """Close the clients if nobody uses them any more."""
        async with self.lock:
            if self.users == 0:
                await self.close()

    async def close(self) -> None:
        stack, self._stack, self._clients = self._stack, AsyncExitStack(), None
        await stack.aclose()

    def is_absent(self, what: str, now: float) -> bool:
        """Whether ``what`` was found missing not long ago."""
        return self._absent.get(what, now) > now

    def note_absent(self, what: str, until: float) -> None:
        """``what`` is missing, and need not be asked for before ``until``."""
        self._absent[what] = until

    def forget_absent(self, what: str) -> None:
        """Ask for ``what`` again."""
        self._absent.pop(what, None)

    async def ask_once(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._clients is not None
        reply: Mapping[str, Any] = await getattr(self._clients[0], xform_name(operation))(**request)
        return reply

    async def ask(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert self._clients is not None
        reply: Mapping[str, Any] = await getattr(self._clients[1], xform_name(operation))(**request)
        return reply
