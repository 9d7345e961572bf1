"""A local server that speaks DynamoDB Streams and Kinesis to unmodified AWS clients, with faults on demand.

In a test on asyncio::

    async with StreamServer() as server:
        server.log.create_table("orders")
        server.log.put_item("orders", new_image={"pk": "a", "total": 3})
        ...  # point AWS_ENDPOINT_URL_DYNAMODB_STREAMS at server.endpoint_url

``consumer.testing.server_thread`` runs one beside blocking code, ``python -m consumer.testing.stream_server`` one on
its own. The same port answers both services, by the X-Amz-Target header, and ``/_stream/...`` for control
(``consumer.testing.control``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final, Protocol

from aiohttp import web

from consumer.clock import Clock, SystemClock
from consumer.testing.control import Control
from consumer.testing.dynamodb_front import DynamoDBFront
from consumer.testing.faults import Call, Fault, FaultKind, FaultPlan
from consumer.testing.http_faults import error_body, faulty_reply, read_body, service_of
from consumer.testing.kinesis_front import KinesisFront
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.table_feed import TableFeed
from consumer.testing.wire_json import dumps, loads_object
from lease_store.uninterrupted import uninterrupted

__all__ = ["StreamServer"]

_SHUTDOWN_SECONDS: Final = 5.0
_NO_CBOR: Final = "This stream server speaks JSON only, not CBOR: start a Java client with -Daws.cborEnabled=false."


class Front(Protocol):
    """One service's API over the shard log."""

    @property
    def content_type(self) -> str:
        """Of its replies."""
        ...

    def call(self, service: str, operation: str, fields: Mapping[str, Any]) -> Call:
        """The call as faults see it."""
        ...

    def answer(self, service: str, operation: str, fields: Mapping[str, Any]) -> bytes:
        """The reply's body; raises ServiceError."""
        ...


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request that was understood, and the front to answer it."""

    front: Front
    service: str
    operation: str
    fields: dict[str, Any]


class StreamServer:
    """The server, listening on a loopback address while it is entered.

    ``log`` holds the streams and takes records, ``faults`` what goes wrong. All time comes from ``clock``: records,
    retention, iterators, the Date header, delays. ``options`` are the defaults of streams made without their own.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        region: str = "eu-west-1",
        options: StreamOptions | None = None,
        log: ShardLog | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.log = log or ShardLog(self.clock.wall, seed=seed, region=region, options=options, prebuild=True)
        self.faults = faults or FaultPlan(random.Random(seed), now=self.clock.monotonic)
        self._host = host
        self._port = port
        self._ids = random.Random(seed)
        self._fronts: dict[str, Front] = {
            "dynamodbstreams": DynamoDBFront(self.log, self.faults),
            "kinesis": KinesisFront(self.log, self.faults),
        }
        self._control = Control(self.log, self.faults, lambda: self.feeds)
        self._runner: web.ServerRunner | None = None
        self._feeds: dict[TableFeed, asyncio.Task[None]] = {}

    @property
    def endpoint_url(self) -> str:
        """The address, for AWS_ENDPOINT_URL_DYNAMODB_STREAMS, AWS_ENDPOINT_URL_KINESIS or a client's endpoint_url."""
        if self._runner is None:
            raise RuntimeError("The stream server is not running: enter it with 'async with' first.")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> StreamServer:
        server = web.Server(self._respond, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await uninterrupted(web.TCPSite(runner, self._host, self._port).start())
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the feeds, stop listening, give calls under way 5 s, close connections; doing it twice is fine."""
        await uninterrupted(self._close())

    async def _close(self) -> None:
        feeds, self._feeds = self._feeds, {}
        for task in feeds.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def feed_from(
        self,
        endpoint_url: str,
        table: str,
        *,
        region: str = "us-east-1",
        shard_count: int = 1,
        options: StreamOptions | None = None,
    ) -> str:
        """Serve the stream of a table that another local server has, under its own ARN, which is returned.

        From then on the real stream's records are laid on the shards here. Raises botocore's errors, and LookupError
        for a table without a stream.
        """
        feed = TableFeed(self.log, table, endpoint_url=endpoint_url, clock=self.clock, region=region)
        arn = await feed.attach(shard_count=shard_count, options=options)
        self._feeds[feed] = asyncio.create_task(feed.run(), name=f"feed of table {table}")
        return arn

    @property
    def feeds(self) -> tuple[TableFeed, ...]:
        """The feeds that run."""
        return tuple(self._feeds)

    # -- one request

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await read_body(request)
        except ServiceError as error:
            return self._reply(error.status, error_body(error), "application/json")
        if request.path.startswith("/_stream/"):
            return self._respond_to_control(request, body)
        try:
            exchange = self._understood(request, body)
        except ServiceError as error:
            return self._reply(error.status, error_body(error), "application/x-amz-json-1.1")
        fault = self.faults.take(exchange.front.call(exchange.service, exchange.operation, exchange.fields))
        if fault is not None and fault.delays_call:
            await self.clock.sleep(fault.seconds)
        status, reply = self._answered(exchange, fault)
        response = self._reply(status, reply, exchange.front.content_type)
        if fault is None:
            return response
        if fault.seconds and not fault.delays_call:
            await self.clock.sleep(fault.seconds)
        return await faulty_reply(request, fault, response, exchange.fields)

    def _understood(self, request: web.BaseRequest, body: bytes) -> _Exchange:
        service, operation = service_of(request.headers.get("X-Amz-Target", ""))
        if "cbor" in request.headers.get("Content-Type", ""):
            raise ServiceError("SerializationException", _NO_CBOR, 415)
        if request.method != "POST" or service not in ("dynamodbstreams", "dynamodb", "kinesis"):
            message = "This stream server answers POST requests with an X-Amz-Target of DynamoDB Streams or Kinesis."
            raise ServiceError("UnknownOperationException", message, 404)
        try:
            fields = loads_object(body)
        except ValueError as error:
            raise ServiceError("SerializationException", str(error)) from error
        front = self._fronts["kinesis" if service == "kinesis" else "dynamodbstreams"]
        return _Exchange(front, service, operation, fields)

    def _answered(self, exchange: _Exchange, fault: Fault | None) -> tuple[int, bytes]:
        """Status and body of a call; an error, or a drop before the call, takes its place."""
        try:
            if fault is not None and fault.kind is FaultKind.ERROR:
                raise fault.as_error()
            if fault is not None and fault.kind is FaultKind.DROP and not fault.applied:
                return 200, b""
            return 200, exchange.front.answer(exchange.service, exchange.operation, exchange.fields)
        except ServiceError as error:
            return error.status, error_body(error)

    def _respond_to_control(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        try:
            fields = loads_object(body)
        except ValueError as error:
            return self._reply(400, dumps({"error": str(error)}), "application/json")
        status, reply = self._control.answer(request.method, request.path.removeprefix("/_stream/"), fields)
        return self._reply(status, dumps(reply), "application/json")

    def _headers(self, content_type: str) -> dict[str, str]:
        return {
            "Content-Type": content_type,
            "Date": formatdate(self.clock.wall(), usegmt=True),
            "Server": "leasehold-stream-server",
            "x-amzn-RequestId": f"{self._ids.getrandbits(128):032X}",
        }

    def _reply(self, status: int, body: bytes, content_type: str) -> web.Response:
        return web.Response(status=status, body=body, headers=self._headers(content_type))


if __name__ == "__main__":
    # By name: that module imports this one.
    runpy.run_module("consumer.testing.server_process", run_name="__main__")
