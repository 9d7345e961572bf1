"""AWS clients for the running loop, and the one place where they are called.

Botocore's own settings decide endpoints, region and credentials. Clients are ``Any`` from here on: which operations
there are is data at run time, and the stubs that exist describe them by names that only a type checker may import.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Literal, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import xform_name

from consumer.clock import Clock
from consumer.config import DataPath
from consumer.errors import ConfigError, StreamUnavailable
from consumer.streams.aws_errors import Call, translate
from consumer.streams.decode_line import DecodeLine
from consumer.streams.direct import DirectCalls
from consumer.streams.direct_route import Route
from consumer.streams.source import OPENINGS_AT_ONCE, READS_AT_ONCE
from consumer.streams.wire import WirePage, decode_dynamodb, decode_kinesis
from consumer.streams.wire_parser import PAGE, WireParser
from lease_store.aws_session import own_session
from lease_store.strict_parser import reading_with
from lease_store.uninterrupted import uninterrupted

__all__ = ["AwsClients", "SessionSource"]

SessionSource = AioSession | Callable[[], AioSession] | None
"""A session, or what makes one for each loop; None for botocore's default."""

ResultT = TypeVar("ResultT")

_CONNECT_TIMEOUT_SECONDS: Final = 3.0
_READ_TIMEOUT_SECONDS: Final = 10.0
# The read time-out starts anew with every byte; this one does not.
_CALL_TIMEOUT_SECONDS: Final = 20.0
# One for each read and each opening that a worker has under way, and some for its other calls.
_POOL_CONNECTIONS: Final = READS_AT_ONCE + OPENINGS_AT_ONCE + 10
_DECODERS: Final[Mapping[str, Callable[[bytes | memoryview], WirePage]]] = {
    "dynamodbstreams": decode_dynamodb,
    "kinesis": decode_kinesis,
}


class _LoopClients:
    def __init__(self, clock: Clock) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.stack = AsyncExitStack()
        self.clients: dict[str, Any] = {}
        self.route: Route | None = None
        self.line = DecodeLine(clock)
        self.is_plain = False
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def direct(self) -> DirectCalls | None:
        return None if self.route is None or self.is_plain else self.route.direct

    async def close(self) -> None:
        tasks = tuple(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stack, self.stack, self.clients, self.route = self.stack, AsyncExitStack(), {}, None
        await stack.aclose()


class AwsClients:
    """Clients of some services, one set for each loop that has entered ``open``; several workers may share one object.

    Each call is made once: whoever calls knows best whether and when to try again. Every error is one of
    ``consumer.errors``.
    """

    def __init__(
        self, services: tuple[str, ...], resource: str, *, clock: Clock, session: SessionSource, region_name: str | None
    ) -> None:
        self._services = services
        self._resource = resource
        self._clock = clock
        self._session = session
        self._region_name = region_name
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopClients] = {}

    @asynccontextmanager
    async def open(self, data_path: DataPath = "auto") -> AsyncIterator[None]:
        """Clients for the running loop, closed when its last ``open`` is left.

        ``data_path`` "plain", from one of them, sends all calls of the loop through botocore.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            mine = self._loops.setdefault(loop, _LoopClients(self._clock))
            mine.users += 1
            mine.is_plain |= data_path == "plain"
        try:
            async with mine.lock:
                if not mine.clients:
                    await self._connect(mine)
            yield
        finally:
            await uninterrupted(self._leave(loop, mine))

    async def _leave(self, loop: asyncio.AbstractEventLoop, mine: _LoopClients) -> None:
        async with mine.lock:
            with self._lock:
                mine.users -= 1
                is_last = mine.users == 0
                if is_last:
                    del self._loops[loop]
            if is_last:
                await mine.close()

    async def call(
        self, service: str, operation: str, request: Mapping[str, Any], *, resource: str, shard_id: str | None = None
    ) -> dict[str, Any]:
        """One operation, tried once; the reply as botocore parses it, which is a JSON object for sure."""
        client = self._mine().clients[service]
        call = Call(service, operation, resource, client.meta.endpoint_url, shard_id)
        try:
            async with self._clock.timeout(_CALL_TIMEOUT_SECONDS):
                reply = await getattr(client, xform_name(operation))(**request)
        except Exception as error:
            raise translate(error, call) from error
        if not isinstance(reply, dict):
            raise StreamUnavailable(f"{call.service_name} sent no reply of the expected kind to {call}.")
        return reply

    async def get_records(
        self, service: str, request: Mapping[str, Any], *, resource: str, shard_id: str | None
    ) -> WirePage:
        """One page, asked for once, of the first of the services."""
        mine = self._mine()
        route, direct = mine.route, mine.direct
        if route is None or direct is None or not direct.serves(request):
            reply = await self.call(service, "GetRecords", request, resource=resource, shard_id=shard_id)
            if route is not None and not mine.is_plain:
                await route.learn(request)
            page: WirePage = reply[PAGE]
            return page
        try:
            body = await direct.get_records(request)
            route.answered()
            return await mine.line.decoded(body, _DECODERS[service])
        except Exception as error:
            route.failed(error)
            call = Call(service, "GetRecords", resource, mine.clients[service].meta.endpoint_url, shard_id)
            raise translate(error, call) from error

    @property
    def data_path(self) -> Literal["direct", "plain"]:
        """How pages are read now, by the loop that does it most cheaply."""
        with self._lock:
            return "direct" if any(mine.direct is not None for mine in self._loops.values()) else "plain"

    def start(self, work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        """Run ``work`` beside its callers, until it is done or the running loop's last ``open`` is left."""
        mine = self._mine()
        task = asyncio.get_running_loop().create_task(work)
        mine.tasks.add(task)
        task.add_done_callback(mine.tasks.discard)
        # Where all callers have gone, nobody else asks for its error.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _mine(self) -> _LoopClients:
        with self._lock:
            mine = self._loops.get(asyncio.get_running_loop())
        if mine is None or not mine.clients:
            raise RuntimeError(
                f"The source of {self._resource} is not open on this event loop; enter open() on it first."
            )
        return mine

    async def _connect(self, mine: _LoopClients) -> None:
        """Make the running loop's clients, all or none."""
        config = AioConfig(
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            read_timeout=_READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=_POOL_CONNECTIONS,
        )
        given = self._session() if callable(self._session) else self._session or own_session()
        session = reading_with(given, WireParser)
        clients: dict[str, Any] = {}
        service = self._services[0]
        try:
            for service in self._services:
                context = session.create_client(service, region_name=self._region_name, config=config)
                clients[service] = await mine.stack.enter_async_context(context)
        except BaseException as error:
            await mine.close()
            if isinstance(error, ValueError):
                raise ConfigError(f"The endpoint for {self._resource} is not a URL: {error}") from error
            if isinstance(error, Exception):
                raise translate(error, Call(service, "open", self._resource)) from error
            raise
        first = clients[self._services[0]]
        route = Route(first, session, self._resource, clock=self._clock, timeout_seconds=_CALL_TIMEOUT_SECONDS)
        mine.stack.push_async_callback(route.close)
        mine.clients, mine.route = clients, route
