"""An aiobotocore session without a network: its clients answer from a shard log, through the server's own fronts."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any, Final

import botocore.session
from botocore import xform_name
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from consumer.clock import Clock
from consumer.streams.wire import decode_dynamodb, decode_kinesis
from consumer.streams.wire_parser import PAGE, WireParser
from consumer.testing.dynamodb_front import DynamoDBFront
from consumer.testing.faults import Fault, FaultKind, FaultPlan
from consumer.testing.kinesis_front import KinesisFront
from consumer.testing.mangling import mangle
from consumer.testing.service_error import ServiceError
from consumer.testing.shard_log import ShardLog
from consumer.testing.wire_json import loads_object

__all__ = ["MemorySession"]

_ENDPOINT: Final = "memory"


class MemorySession:
    """Stands where the real sources take a session.

    Every call takes ``latency_seconds`` on ``clock``, half before it acts.
    """

    def __init__(self, log: ShardLog, faults: FaultPlan, *, clock: Clock, latency_seconds: float = 0.0) -> None:
        self.log = log
        self.faults = faults
        self.clock = clock
        self.half_latency_seconds = latency_seconds / 2

    @asynccontextmanager
    async def create_client(self, service: str, **_: Any) -> AsyncIterator[_MemoryClient]:
        """A client of ``service``."""
        yield _MemoryClient(self, service)


class _MemoryClient:
    """Has the operations of one service as methods, as botocore's clients have."""

    def __init__(self, session: MemorySession, service: str) -> None:
        self.meta = SimpleNamespace(endpoint_url=_ENDPOINT)
        self._session = session
        self._service = service
        self._front: DynamoDBFront | KinesisFront = (
            KinesisFront(session.log, session.faults)
            if service == "kinesis"
            else DynamoDBFront(session.log, session.faults)
        )

    def __getattr__(self, name: str) -> Any:
        operation = _operations(self._service).get(name)
        if operation is None:
            raise AttributeError(f"{self._service} has no operation {name}.")
        return functools.partial(self._call, operation)

    async def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        session = self._session
        fields = {name: _plain(value) for name, value in request.items()}
        await session.clock.sleep(session.half_latency_seconds)
        fault = session.faults.take(self._front.call(self._service, operation, fields))
        late = fault.seconds if fault is not None else 0.0
        if fault is not None and fault.delays_call:
            await session.clock.sleep(late)
            late = 0.0
        reply: dict[str, Any] = {}
        failure: Exception | None = None
        try:
            reply = await self._answer(operation, fields, fault)
        except (ServiceError, ValueError) as error:
            failure = self._as_botocore(error, operation)
        await session.clock.sleep(session.half_latency_seconds + late)
        if failure is None and fault is not None:
            failure = _cut(fault)
        if failure is not None:
            raise failure
        return reply

    async def _answer(self, operation: str, fields: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
        kind = None if fault is None else fault.kind
        if fault is not None and kind is FaultKind.ERROR:
            raise fault.as_error()
        if fault is not None and kind is FaultKind.DROP and not fault.applied:
            return {}
        body = self._front.answer(self._service, operation, fields)
        if fault is not None and kind is FaultKind.MALFORMED:
            body = mangle(loads_object(body), fault, fields.get("ShardIterator"))
        if operation == "GetRecords":  # what a simulated fleet does most
            return {PAGE: decode_kinesis(body) if self._service == "kinesis" else decode_dynamodb(body)}
        shape = _model(self._service).operation_model(operation).output_shape
        parsed: dict[str, Any] = await WireParser().parse(
            {"status_code": 200, "headers": self._headers(), "body": body}, shape
        )
        return parsed

    def _as_botocore(self, error: ServiceError | ValueError, operation: str) -> Exception:
        if isinstance(error, ValueError):
            return error
        described = {"Code": error.code, "Message": error.message}
        metadata = {"HTTPStatusCode": error.status, "HTTPHeaders": self._headers()}
        response: Any = {"Error": described, "ResponseMetadata": metadata}
        return ClientError(response, operation)

    def _headers(self) -> dict[str, str]:
        return {"date": formatdate(self._session.log.now(), usegmt=True)}


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value


def _cut(fault: Fault) -> Exception | None:
    """What a client sees of a connection that closed too early."""
    if fault.kind is FaultKind.DROP:
        return ConnectionClosedError(endpoint_url=_ENDPOINT, error="The connection was closed without a reply.")
    if fault.kind is FaultKind.HALF_BODY:
        return HTTPClientError(error="The reply broke off.")
    return None


@functools.cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def _operations(service: str) -> Mapping[str, str]:
    return {xform_name(operation): operation for operation in _model(service).operation_names}
