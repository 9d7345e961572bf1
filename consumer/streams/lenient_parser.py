"""Botocore's JSON parser for a world in which replies are malformed at times."""

from __future__ import annotations

import json
from typing import Any, Final

from aiobotocore.parsers import AioJSONParser, AioResponseParserFactory

__all__ = ["LenientParser", "LenientParserFactory"]

# Lists whose entries stand for themselves. In an item a bad element must not become None: that would change the data.
_SPARSE_LISTS: Final = frozenset({"ChildShardList", "RecordList", "ShardDescriptionList", "ShardList"})

# The stubs of both know nothing but their names.
_Parser: Any = AioJSONParser
_ParserFactory: Any = AioResponseParserFactory


class LenientParser(_Parser):  # type: ignore[misc]
    """Botocore's parser, but neither too strict nor too lenient.

    Botocore gives up on a whole page for one entry that is not what the model says: here an entry of a list of records
    or shards that can't be parsed becomes None, for the source to count. And it reads a success whose body is no JSON
    as an empty reply, *no records* where nobody said so, and passes on a number where the model says text: here these
    are a ValueError.
    """

    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        body = json.loads(raw_body)
        if not isinstance(body, dict):
            raise ValueError("the reply is JSON, but not an object")
        return self._parse_shape(shape, body)

    def _handle_list(self, shape: Any, node: Any) -> list[Any]:
        if node is not None and not isinstance(node, list):
            raise ValueError(f"{shape.name} is no list")  # botocore would take a text for a list of its letters
        if node is None or shape.name not in _SPARSE_LISTS:
            parsed: list[Any] = super()._handle_list(shape, node)
            return parsed
        return [self._entry(shape.member, entry) for entry in node]

    def _handle_string(self, shape: Any, node: Any) -> Any:
        return _of_type(shape, node, str)

    def _handle_boolean(self, shape: Any, node: Any) -> Any:
        return _of_type(shape, node, bool)

    def _handle_integer(self, shape: Any, node: Any) -> Any:
        return _of_type(shape, node, int)

    _handle_long = _handle_integer

    def _entry(self, shape: Any, entry: Any) -> Any:
        if not isinstance(entry, dict):
            return None
        try:
            return self._parse_shape(shape, entry)
        except (AttributeError, LookupError, TypeError, ValueError):
            return None


def _of_type(shape: Any, node: Any, kind: type) -> Any:
    if node is not None and type(node) is not kind:
        raise ValueError(f"a {shape.name} is of type {type(node).__name__}, not {kind.__name__}")
    return node


class LenientParserFactory(_ParserFactory):  # type: ignore[misc]
    """Makes them for JSON services."""

    def create_parser(self, protocol_name: str) -> Any:
        return LenientParser(**self._defaults) if protocol_name == "json" else super().create_parser(protocol_name)
