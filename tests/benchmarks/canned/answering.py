"""From a request to its reply: which service, which operation, in which encoding."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from tests.benchmarks.canned import cbor
from tests.benchmarks.canned.lease_table import LeaseTables
from tests.benchmarks.canned.places import UnknownPlace
from tests.benchmarks.canned.prepared import Page
from tests.benchmarks.canned.reading import Heads, Reader, readers
from tests.benchmarks.canned.replies import ServiceError, as_json, describe_table, kinesis_reply, streams_reply

__all__ = ["Answers"]

_SERVICES: Final = {
    "Kinesis_20131202": "kinesis",
    "DynamoDBStreams_20120810": "dynamodb",
    "DynamoDB_20120810": "table",
}
_CBOR: Final = "application/x-amz-cbor-1.1"
_JSON: Final = "application/x-amz-json-1.1"


class Answers:
    """All that the server knows: prepared pages, and the tables that leases are kept in."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.heads = Heads()
        self.leases = LeaseTables()
        self._readers = readers(self.heads)

    def answer(self, headers: Mapping[str, str], body: bytes, seconds: float) -> tuple[bytes | Page, Reader | None]:
        """The whole reply; with a Page comes the reader that it is to be given back to."""
        target, content_type = headers.get("x-amz-target", ""), headers.get("content-type", "")
        prefix, _, operation = target.partition(".")
        service, in_cbor = _SERVICES.get(prefix, ""), "cbor" in content_type
        self.calls[f"{service}.{operation}"] += 1
        try:
            if service == "table":
                return self._table(operation, body, content_type), None
            request = cbor.decode(body) if in_cbor else json.loads(body)
            if operation == "GetRecords":
                reader = self._readers[service, in_cbor]
                reply = reader.read(request["ShardIterator"], request.get("Limit"), seconds)
                return reply, reader if isinstance(reply, Page) else None
            made = (kinesis_reply if service == "kinesis" else streams_reply)(operation, request, seconds)
            encoded = cbor.encode(made) if in_cbor else as_json(made)
            return self._whole(_CBOR if in_cbor else _JSON, encoded), None
        except UnknownPlace as error:
            return self._refusal(ServiceError("ResourceNotFoundException", str(error)), in_cbor), None
        except KeyError as error:
            return self._refusal(ServiceError("ValidationException", f"{error} is missing."), in_cbor), None
        except ServiceError as error:
            return self._refusal(error, in_cbor), None

    def _table(self, operation: str, body: bytes, content_type: str) -> bytes:
        if operation == "DescribeTable":
            try:
                return self._whole(content_type, as_json(describe_table(json.loads(body)["TableName"])))
            except UnknownPlace:
                pass  # a lease table, then
        status, encoded = self.leases.answer(operation, body)
        return self._whole(content_type, encoded, status)

    def _refusal(self, error: ServiceError, in_cbor: bool) -> bytes:
        reply: dict[str, Any] = {"__type": error.code, "message": str(error)}
        return self._whole(_CBOR if in_cbor else _JSON, cbor.encode(reply) if in_cbor else as_json(reply), 400)

    def _whole(self, content_type: str, body: bytes, status: int = 200) -> bytes:
        return self.heads.of(content_type, len(body), status) + body
