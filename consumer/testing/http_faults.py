"""What a fault does to a reply on the wire, of the server or the proxy: cut connections, half bodies, errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

from aiohttp import web

from consumer.testing.faults import Call, Fault, FaultKind
from consumer.testing.mangling import mangle
from consumer.testing.service_error import ServiceError
from consumer.testing.wire_json import dumps, loads_object

__all__ = [
    "call_of",
    "error_body",
    "faulty_reply",
    "read_body",
    "rest_operation",
    "service_of",
    "signed_service",
    "xml_error",
]

# PutRecords takes 10 MiB, a third more as base64.
_REQUEST_BYTES: Final = 16 * 1024 * 1024
_SERVICES: Final = {
    "DynamoDBStreams_20120810": "dynamodbstreams",
    "DynamoDB_20120810": "dynamodb",
    "Kinesis_20131202": "kinesis",
}


def service_of(target: str) -> tuple[str, str]:
    """Service and operation of an X-Amz-Target header; of an unknown service the name as it stands there."""
    prefix, _, operation = target.rpartition(".")
    return _SERVICES.get(prefix, prefix), operation


def signed_service(authorization: str) -> str:
    """The service that a request was signed for, as its Authorization header says; empty where it says nothing."""
    found = re.search(r"Credential=[^,/]+/\d{8}/[^/]+/([^/]+)/aws4_request", authorization)
    return found.group(1) if found else ""


def rest_operation(method: str, target: str) -> str:
    """The operation of S3 that a request is, of those on objects and listings; its names are in paths and methods."""
    path, _, query = target.partition("?")
    on_object = path.strip("/").count("/") > 0
    if method == "GET":
        return "ListObjectsV2" if "list-type=2" in query else "GetObject"
    kinds = (
        {"PUT": "PutObject", "DELETE": "DeleteObject", "HEAD": "HeadObject"} if on_object else {"HEAD": "HeadBucket"}
    )
    return kinds.get(method, "")


def xml_error(error: ServiceError) -> bytes:
    """The XML body that S3 and the query protocol give an error: each reads what it knows."""
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    return f"<ErrorResponse><Error>{inner}</Error>{inner}</ErrorResponse>".encode()


async def read_body(request: web.BaseRequest) -> bytes:
    """The request's body. Raises ServiceError 413 for one of more than 16 MiB."""
    if request.headers.get("Expect", "").lower() == "100-continue":  # S3's clients ask before they send a body
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _REQUEST_BYTES:
            raise ServiceError("RequestEntityTooLargeException", f"A request has {_REQUEST_BYTES} bytes at most.", 413)
    return bytes(body)


def call_of(service: str, operation: str, fields: Mapping[str, Any]) -> Call:
    """The call as faults see it, as far as the request's own fields tell."""
    names = ("StreamArn", "StreamARN", "TableName", "StreamName")
    stream = next((str(fields[name]) for name in names if fields.get(name)), "")
    return Call(
        service, operation, stream, str(fields.get("ShardId") or ""), str(fields.get("ShardIteratorType") or "")
    )


def error_body(error: ServiceError) -> bytes:
    """The JSON body that AWS's JSON protocol gives an error."""
    return dumps({"__type": f"com.amazonaws.leasehold.testing#{error.code}", "message": error.message})


async def faulty_reply(
    request: web.BaseRequest, fault: Fault, reply: web.Response, fields: Mapping[str, Any]
) -> web.StreamResponse:
    """``reply`` as ``fault`` lets it through; ``fields`` are those of the request. Delays are the caller's."""
    body = bytes(reply.body) if isinstance(reply.body, bytes) else b""
    if fault.kind is FaultKind.DROP:
        return _cut(request, reply)
    if fault.kind is FaultKind.HALF_BODY:
        half = web.StreamResponse(status=reply.status, headers=reply.headers)
        half.content_length = max(2, len(body))
        with contextlib.suppress(ConnectionResetError):  # a client that has gone meanwhile does not even get a half
            await half.prepare(request)
            await half.write(body[: max(1, len(body) // 2)] or b"{")
        return _cut(request, half)
    if fault.kind is FaultKind.MALFORMED and reply.status == 200 and body:
        reply.body = mangle(loads_object(body), fault, fields.get("ShardIterator"))
    return reply


def _cut(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection after what was written so far."""
    response.force_close()
    if request.transport is not None:
        request.transport.close()
    return response
