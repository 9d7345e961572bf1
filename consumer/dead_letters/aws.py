"""AWS clients for stores of dead letters, and the one place where they are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from botocore import xform_name

from consumer.clock import Clock, SystemClock
from consumer.dead_letters.at_once import CALLS_AT_ONCE
from consumer.dead_letters.aws_errors import Call, translate
from consumer.errors import ConfigError
from consumer.streams.aws_clients import SessionSource
from lease_store.aws_session import own_session

__all__ = ["AwsStores"]

_CONNECT_TIMEOUT_SECONDS: Final = 3.0
_READ_TIMEOUT_SECONDS: Final = 30.0
# A letter of several megabytes over a slow line; the read time-out starts anew with every byte, this one does not.
_CALL_TIMEOUT_SECONDS: Final = 60.0

# IAM's names where they are not ``service:Operation``.
_ACTIONS: Final = {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "ListObjectsV2": "ListBucket",
    "PublishBatch": "Publish",
    "SendMessageBatch": "SendMessage",
}


class AwsStores:
    """Clients of some services on the loop that entered ``open``. Every error is one of ``consumer.errors``.

    ``attempts``: how often botocore makes a call; delivery, which tries again itself, wants 1.
    """

    def __init__(
        self,
        *services: str,
        session: SessionSource = None,
        region_name: str | None = None,
        clock: Clock | None = None,
        attempts: int = 1,
    ) -> None:
        self._services = services
        self._session: Any = session() if callable(session) else session or own_session()
        self._region_name = region_name
        self._clock = clock or SystemClock()
        self._attempts = attempts
        self._config = AioConfig(
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            read_timeout=_READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            max_pool_connections=2 * CALLS_AT_ONCE,
        )
        self._clients: dict[str, Any] = {}
        self._connecting = asyncio.Lock()
        self._stack: AsyncExitStack | None = None

    @property
    def clock(self) -> Clock:
        """What time passes by."""
        return self._clock

    @asynccontextmanager
    async def open(self, store: str) -> AsyncIterator[None]:
        """Clients while it is entered, once at a time; the first service's at once, others when they are first needed.

        Raises ConfigError, DeadLetterStoreCredentials.
        """
        if self._stack is not None:
            raise RuntimeError(f"{store} is open already.")
        async with AsyncExitStack() as self._stack:
            try:
                await self._client(self._services[0], store)
                yield
            finally:
                self._stack = None
                self._clients.clear()

    async def call(self, service: str, operation: str, store: str, **request: Any) -> dict[str, Any]:
        """One operation; the reply as botocore parses it, a streamed ``Body`` read to its end."""
        client = self._clients.get(service) or await self._client(service, store)
        action = f"{service}:{_ACTIONS.get(operation, operation)}"
        try:
            async with self._clock.timeout(_CALL_TIMEOUT_SECONDS * self._attempts):
                reply: dict[str, Any] = await getattr(client, xform_name(operation))(**request)
                if hasattr(reply.get("Body"), "read"):
                    async with reply["Body"] as stream:
                        reply["Body"] = await stream.read()
        except Exception as error:
            raise translate(error, Call(service, operation, store, action, client.meta.endpoint_url)) from error
        return reply

    async def _client(self, service: str, store: str) -> Any:
        async with self._connecting:
            if self._stack is None:
                raise RuntimeError(f"{store} is not open; enter open() first.")
            if service not in self._clients:
                try:
                    made = self._session.create_client(service, region_name=self._region_name, config=self._config)
                    self._clients[service] = await self._stack.enter_async_context(made)
                except ValueError as error:
                    raise ConfigError(f"The endpoint for {store} is not a URL: {error}") from error
                except Exception as error:
                    raise translate(error, Call(service, "open", store, "")) from error
            return self._clients[service]
