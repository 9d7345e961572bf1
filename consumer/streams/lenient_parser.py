"""The strict parser for lists of shards: one bad entry does not spoil its neighbours."""

from __future__ import annotations

from typing import Any, Final

from lease_store.strict_parser import StrictParser

__all__ = ["LenientParser"]

# Lists whose entries stand for themselves.
_SPARSE_LISTS: Final = frozenset({"ShardDescriptionList", "ShardList"})


class LenientParser(StrictParser):
    """Gives None for an entry of a list of shards that can't be parsed, for the source to count.

    Botocore gives up on a whole page for one entry that is not what the model says.
    """

    def _handle_list(self, shape: Any, node: Any) -> Any:
        if shape.name not in _SPARSE_LISTS or not isinstance(node, list):
            return super()._handle_list(shape, node)
        return [self._entry(shape.member, entry) for entry in node]

    def _entry(self, shape: Any, entry: Any) -> Any:
        if not isinstance(entry, dict):
            return None
        try:
            return self._parse_shape(shape, entry)
        except (AttributeError, LookupError, TypeError, ValueError):
            return None
