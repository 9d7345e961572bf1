"""Botocore's JSON parser, believing a reply only where it is what the service's model says."""

from __future__ import annotations

import copy
import json
from typing import Any

from aiobotocore.parsers import AioJSONParser, AioResponseParserFactory

__all__ = ["StrictParser", "parser_factory", "reading_with"]

# The stubs of both know nothing but their names.
_Parser: Any = AioJSONParser
_ParserFactory: Any = AioResponseParserFactory


class StrictParser(_Parser):  # type: ignore[misc]
    """Raises ValueError for a success that is not a JSON object, and for a value that is not of its type.

    Botocore reads such a body as an empty reply, which says *no such row*, *no records* or *done* where nobody said so,
    and passes on a number where the model says text, or a text as the list of its letters.
    """

    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        body = json.loads(raw_body)
        if not isinstance(body, dict):
            raise ValueError("the reply is JSON, but not an object")
        return self._parse_shape(shape, body)

    def _handle_structure(self, shape: Any, node: Any) -> Any:
        return super()._handle_structure(shape, _of_type(shape, node, dict))

    def _handle_map(self, shape: Any, node: Any) -> Any:
        return super()._handle_map(shape, _of_type(shape, node, dict))

    def _handle_list(self, shape: Any, node: Any) -> Any:
        if None in _of_type(shape, node, list):
            raise ValueError(f"{shape.name} has an element that is null")
        return super()._handle_list(shape, node)

    def _handle_string(self, shape: Any, node: Any) -> Any:
        return _of_type(shape, node, str)

    def _handle_boolean(self, shape: Any, node: Any) -> Any:
        return _of_type(shape, node, bool)

    def _handle_integer(self, shape: Any, node: Any) -> Any:
        return _of_type(shape, node, int)

    _handle_long = _handle_integer


def _of_type(shape: Any, node: Any, kind: type) -> Any:
    # Botocore leaves out members that are null; it is elements of lists and maps that come here so.
    if type(node) is not kind:
        raise ValueError(f"{shape.name} is of type {type(node).__name__}, not {kind.__name__}")
    return node


def parser_factory(parser: type[StrictParser]) -> Any:
    """What makes ``parser`` for JSON services, as a session's component ``response_parser_factory`` does."""

    class Factory(_ParserFactory):  # type: ignore[misc]
        def create_parser(self, protocol_name: str) -> Any:
            return parser(**self._defaults) if protocol_name == "json" else super().create_parser(protocol_name)

    return Factory()


def reading_with(session: Any, parser: type[StrictParser]) -> Any:
    """``session`` once more, for clients that read replies with ``parser``; the given one is left as it is.

    A source and a store may share a session, in two threads even, and the user makes clients from it as well.
    """
    own = copy.copy(session)
    parsers = parser_factory(parser)
    own.get_component = lambda name: parsers if name == "response_parser_factory" else session.get_component(name)
    return own
