"""A loopback HTTP proxy for any local AWS server: replies altered, delayed, dropped, cut, or given in its place.

It takes the same ``FaultPlan`` as the stream server, so that a server without faults of its own (ministack,
kinesis-local) gets them, and keeps the last exchanges for assertions::

    async with Proxy(ministack.endpoint_url) as proxy:
        proxy.faults.arm(Fault.error("AccessDeniedException", "UpdateItem", service="dynamodb"))
        ...  # point AWS_ENDPOINT_URL_DYNAMODB at proxy.endpoint_url
        assert proxy.faults.calls["UpdateItem"] == 1
"""

from __future__ import annotations

import io
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web

from consumer.clock import Clock, SystemClock
from consumer.testing.faults import Fault, FaultKind, FaultPlan
from consumer.testing.http_faults import (
    call_of,
    error_body,
    faulty_reply,
    read_body,
    rest_operation,
    service_of,
    signed_service,
    xml_error,
)
from consumer.testing.service_error import ServiceError
from consumer.testing.wire_json import loads_object
from lease_store.uninterrupted import uninterrupted

__all__ = ["Exchange", "ProxiedReply", "ProxiedRequest", "Proxy"]

# They belong to one connection, or describe a body that may be altered on its way.
_NOT_PASSED_ON: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-amz-crc32",
    }
)
_SPEAK_XML: Final = ("s3", "sns")
_EXCHANGES_KEPT: Final = 10_000
_UPSTREAM_SECONDS: Final = 60.0
_SHUTDOWN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """A request on its way to the server.

    ``service`` and ``operation`` come from X-Amz-Target; else from the signature, and a form's Action or (S3) the path.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    service: str
    operation: str


@dataclass(frozen=True, slots=True)
class ProxiedReply:
    """A reply on its way back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Exchange:
    """What went through: ``reply`` is the server's (None where it was not asked), ``fault`` what was done about it.

    ``at`` is the clock's monotonic time when the request came, ``answered_at`` when the server's reply did.
    """

    at: float
    request: ProxiedRequest
    reply: ProxiedReply | None = None
    answered_at: float | None = None
    fault: Fault | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Proxy:
    """Listens on a loopback port while it is entered, and passes every request on to ``upstream_url``.

    ``alter_request`` and ``alter_reply`` see each request and reply and return it, or another. ``exchanges`` keeps the
    last 10,000; ``answered`` is told of each one that the server answered, before its reply goes back. A server that
    can't be reached is a 502.
    """

    def __init__(
        self,
        upstream_url: str,
        *,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: FaultPlan | None = None,
        alter_request: Callable[[ProxiedRequest], ProxiedRequest] | None = None,
        alter_reply: Callable[[ProxiedRequest, ProxiedReply], ProxiedReply] | None = None,
        answered: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.upstream_url = upstream_url.rstrip("/")
        self.clock = clock or SystemClock()
        self.faults = faults or FaultPlan(random.Random(0), now=self.clock.monotonic)
        self.alter_request = alter_request
        self.alter_reply = alter_reply
        self.answered = answered
        self.exchanges: deque[Exchange] = deque(maxlen=_EXCHANGES_KEPT)
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def endpoint_url(self) -> str:
        """The address to give to clients in place of the server's."""
        if self._runner is None:
            raise RuntimeError("The proxy is not running: enter it with 'async with' first.")
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Proxy:
        limit = aiohttp.ClientTimeout(total=_UPSTREAM_SECONDS)
        self._session = aiohttp.ClientSession(timeout=limit, auto_decompress=False)
        server = web.Server(self._respond, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        try:
            await self._runner.setup()
            await uninterrupted(web.TCPSite(self._runner, self._host, self._port).start())
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening, give calls under way 5 s, close connections on both sides; doing it twice is fine."""
        await uninterrupted(self._close())

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def of(self, operation: str) -> list[Exchange]:
        """The kept exchanges of one operation, oldest first."""
        return [exchange for exchange in self.exchanges if exchange.request.operation == operation]

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            proxied = _understood(request, await read_body(request))
        except ServiceError as error:
            return web.Response(status=error.status, body=error_body(error))
        if self.alter_request is not None:
            proxied = self.alter_request(proxied)
        exchange = Exchange(self.clock.monotonic(), proxied, fields=_fields(proxied))
        self.exchanges.append(exchange)
        fault = exchange.fault = self.faults.take(call_of(proxied.service, proxied.operation, exchange.fields))
        if fault is not None and fault.delays_call:
            await self.clock.sleep(fault.seconds)
        reply = await self._answered(exchange)
        response = web.Response(status=reply.status, body=reply.body, headers=_passed_on(reply.headers))
        if fault is None:
            return response
        if fault.seconds and not fault.delays_call:
            await self.clock.sleep(fault.seconds)
        return await faulty_reply(request, fault, response, exchange.fields)

    async def _answered(self, exchange: Exchange) -> ProxiedReply:
        """The reply: the server's, or where the fault says so one that the server never gave."""
        fault = exchange.fault
        if fault is not None and fault.kind is FaultKind.ERROR:
            error = fault.as_error()
            if exchange.request.service in _SPEAK_XML:
                return ProxiedReply(error.status, {"Content-Type": "text/xml"}, xml_error(error))
            return ProxiedReply(error.status, {"Content-Type": "application/x-amz-json-1.0"}, error_body(error))
        if fault is not None and fault.kind is FaultKind.DROP and not fault.applied:
            return ProxiedReply(502, {}, b"")
        reply = await self._forwarded(exchange.request)
        exchange.reply, exchange.answered_at = reply, self.clock.monotonic()
        if self.answered is not None:
            self.answered(exchange)
        return reply if self.alter_reply is None else self.alter_reply(exchange.request, reply)

    async def _forwarded(self, request: ProxiedRequest) -> ProxiedReply:
        if self._session is None:
            raise RuntimeError("The proxy is not running.")
        headers = {**_passed_on(request.headers), "Accept-Encoding": "identity"}
        url = self.upstream_url + request.path
        try:
            # Of a file, not bytes: aiohttp warns of a megabyte that it writes in one piece.
            body = io.BytesIO(request.body) if request.body else None
            async with self._session.request(request.method, url, data=body, headers=headers) as reply:
                return ProxiedReply(reply.status, dict(reply.headers), await reply.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            said = f"The proxy can't reach {self.upstream_url}: {error}".encode()
            return ProxiedReply(502, {"Content-Type": "text/plain"}, said)


def _understood(request: web.BaseRequest, body: bytes) -> ProxiedRequest:
    headers = dict(request.headers)
    service, operation = service_of(request.headers.get("X-Amz-Target", ""))
    if not operation and "x-www-form-urlencoded" in request.headers.get("Content-Type", ""):
        operation = parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]
    service = service or signed_service(request.headers.get("Authorization", ""))
    if service == "s3":
        operation = rest_operation(request.method, request.raw_path)
    return ProxiedRequest(request.method, request.raw_path, headers, body, service, operation)


def _fields(request: ProxiedRequest) -> dict[str, Any]:
    """The request's JSON object; empty where it has none, since a proxy passes on whatever comes."""
    try:
        return loads_object(request.body)
    except ValueError:
        return {}


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
