"""The strict parser for a table's replies, which leaves the rows of a scan as the bytes that came."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from lease_store.known_rows import RawRows
from lease_store.strict_parser import StrictParser

__all__ = ["TableParser"]


class _Page(Struct, gc=False):
    Items: list[Raw] | None = None
    LastEvaluatedKey: Raw = Raw(b"null")


_PAGES: Final = Decoder(_Page)


class TableParser(StrictParser):
    """``Items`` of a Scan are ``RawRows``: most are known from the scan before, and need not be parsed again."""

    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        if shape.name != "ScanOutput":
            return super()._handle_json_body(raw_body, shape)
        page = _page(raw_body)
        parsed: dict[str, Any] = {}
        if page.Items is not None:
            parsed["Items"] = RawRows(page.Items, partial(self._item, shape.members["Items"].member))
        if (key := json.loads(bytes(page.LastEvaluatedKey))) is not None:
            parsed["LastEvaluatedKey"] = self._parse_shape(shape.members["LastEvaluatedKey"], key)
        return parsed

    def _item(self, shape: Any, row: bytes) -> Any:
        return self._parse_shape(shape, json.loads(row))


def _page(body: bytes) -> _Page:
    """The page in a reply. Raises ValueError where it is none."""
    try:
        return _PAGES.decode(body)
    except MsgspecError:
        # Python reads what is not quite JSON, half a surrogate pair, say: a row that has it costs no other row.
        document = json.loads(body)
    if not isinstance(document, dict) or not isinstance(rows := document.get("Items"), list):
        raise ValueError("the reply is no page of a scan")
    return _Page([_raw(row) for row in rows], _raw(document.get("LastEvaluatedKey")))


def _raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())
