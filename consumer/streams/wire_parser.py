"""Botocore's parser for the clients of sources: pages of records are decoded by ``wire``, the rest is botocore's."""

from __future__ import annotations

from typing import Any, Final

from consumer.streams.lenient_parser import LenientParser
from consumer.streams.wire import decode_dynamodb, decode_kinesis

__all__ = ["PAGE", "WireParser"]

PAGE: Final = "LeaseholdPage"
"""Where a parsed reply of GetRecords has its ``WirePage``, in the place of the fields that botocore would give."""


class WireParser(LenientParser):
    """Gives a success of GetRecords as ``{PAGE: ..., "ResponseMetadata": ...}``.

    Errors go botocore's own way, which never comes here, and so do retries, credentials and all other operations.
    """

    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        if shape.name != "GetRecordsOutput":
            return super()._handle_json_body(raw_body, shape)
        is_kinesis = "MillisBehindLatest" in shape.members  # The shapes of both services have one name.
        return {PAGE: decode_kinesis(raw_body) if is_kinesis else decode_dynamodb(raw_body)}
