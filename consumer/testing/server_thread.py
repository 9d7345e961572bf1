"""A stream server in a thread of its own, for tests and tools that block: ``with StreamServerThread() as server``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from consumer.testing.faults import Fault
from consumer.testing.stream_server import StreamServer

__all__ = ["StreamServerThread"]

T = TypeVar("T")

_START_SECONDS: Final = 10.0
_CALL_SECONDS: Final = 30.0


class StreamServerThread:
    """Runs ``StreamServer(**settings)`` while it is entered; the methods may be called from any thread.

    ``call`` runs any function where the server runs, so that ``server.call(server.server.log.state)`` is safe as well.
    """

    def __init__(self, **settings: Any) -> None:
        self.server = StreamServer(**settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._endpoint: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, name="leasehold-stream-server", daemon=True)

    @property
    def endpoint_url(self) -> str:
        """The address of the running server."""
        return self._endpoint.result(_START_SECONDS)

    def __enter__(self) -> StreamServerThread:
        self._thread.start()
        self._endpoint.result(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._stop is not None:
            loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CALL_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError(f"The stream server's thread still runs {_CALL_SECONDS:g} s after it was told to stop.")

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``function`` on the server's loop and return what it returns."""
        if self._loop is None:
            raise RuntimeError("The stream server is not running: enter it with 'with' first.")

        async def carry_out() -> T:
            return function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(carry_out(), self._loop).result(_CALL_SECONDS)

    def create_table(self, name: str, key_schema: Any = ("pk",), **settings: Any) -> str:
        """``ShardLog.create_table``; returns the stream's ARN."""
        return self.call(lambda: self.server.log.create_table(name, key_schema, **settings).arn)

    def create_stream(self, name: str, shard_count: int = 1, **settings: Any) -> str:
        """``ShardLog.create_stream``; returns the Kinesis stream's ARN."""
        return self.call(lambda: self.server.log.create_stream(name, shard_count, **settings).arn)

    def put_item(
        self,
        table: str,
        *,
        new_image: Mapping[str, Any] | None = None,
        old_image: Mapping[str, Any] | None = None,
        ttl: bool = False,
    ) -> str:
        """``ShardLog.put_item``; returns the sequence number."""
        return self.call(self.server.log.put_item, table, new_image=new_image, old_image=old_image, ttl=ttl)

    def put_record(self, stream: str, partition_key: str, data: bytes) -> str:
        """``ShardLog.put_record``; returns the sequence number."""
        return self.call(self.server.log.put_record, stream, partition_key, data)

    def rotate(self, stream: str, shard_id: str | None = None) -> tuple[str, ...]:
        """Follow one or every open shard by a child; returns the children's ids."""
        return self.call(lambda: self.server.log.stream(stream).lineage.rotate(shard_id))

    def split(self, stream: str, shard_id: str | None = None) -> tuple[str, str]:
        """Split a shard (None: the widest) in two; returns the children's ids."""
        return self.call(lambda: self.server.log.stream(stream).lineage.split(shard_id))

    def arm(self, *faults: Fault) -> None:
        """Let something go wrong."""
        self.call(self.server.faults.arm, *faults)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._endpoint.done():
                raise
            self._endpoint.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.server:
            self._endpoint.set_result(self.server.endpoint_url)
            await self._stop.wait()
