"""One row as the bytes that came in a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from lease_store.attributes import AttributeValue
from lease_store.errors import InvalidRow
from lease_store.item import lease_of
from lease_store.lease import Lease
from lease_store.lease_wire import plain_lease

__all__ = ["RawRow"]


class RawRow:
    """A row that is read when it is asked for; ``read`` makes an item of it and raises ValueError where it is none."""

    __slots__ = ("_body", "_read")

    def __init__(self, body: bytes, read: Callable[[bytes], Mapping[str, AttributeValue]]) -> None:
        self._body: Final = body
        self._read: Final = read

    def lease(self) -> Lease | None:
        """The lease in it; None where it is not a lease's. Raises InvalidRow."""
        if (lease := plain_lease(self._body)) is not None:
            return lease
        try:
            item = self._read(self._body)
        except ValueError as error:
            raise InvalidRow(f"A row of the lease table is not what DynamoDB's model says: {error}.") from error
        return lease_of(item)
