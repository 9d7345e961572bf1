"""The rows of a table as scans see them; what has not changed since the last one is not read again."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from typing import Final

from msgspec import Raw

from lease_store.attributes import AttributeValue
from lease_store.item import Row, row_of, scan_of
from lease_store.lease import Lease, TableScan
from lease_store.lease_wire import plain_lease

__all__ = ["KnownRows", "RawRows"]

Item = Mapping[str, AttributeValue]


class RawRows:
    """The rows of one page of a scan, as the bytes that came.

    ``read`` makes an item of one; it raises ValueError where the bytes are not what the service's model says.
    """

    __slots__ = ("_rows", "read")

    def __init__(self, rows: list[Raw], read: Callable[[bytes], Item]) -> None:
        self._rows = rows
        self.read: Final = read

    def __iter__(self) -> Iterator[bytes]:
        return map(bytes, self._rows)

    def items(self) -> Iterator[Item]:
        """All rows, as items."""
        return map(self.read, self)


class KnownRows:
    """The leases of the last scan of a table, by the hash of their rows' bytes.

    A row that comes again as it was for the second time is the same object: it costs no reading, and whoever kept it
    keeps one row and not two. Of a row that moves between any two scans, as all do that their owners renew, nothing but
    the hash is kept. Bounded by the table, since what a scan does not show is forgotten.
    """

    def __init__(self) -> None:
        self._leases: dict[int, Lease | None] = {}

    async def scan(self, pages: AsyncIterable[RawRows]) -> TableScan:
        """Every row of ``pages``, each page read as it comes. Raises ValueError, and then forgets nothing."""
        leases: dict[int, Lease | None] = {}
        rows: list[Row | tuple[str, str]] = []
        async for page in pages:
            for body in page:
                mark = hash(body)
                known = self._leases.get(mark)
                # By chance two of 2^64 hashes are the same: it must not be another row's, its own comes a look late.
                if known is not None and known.key.encode(errors="surrogatepass") in body:
                    row: Row | tuple[str, str] = known
                else:
                    row = plain_lease(body) or row_of(page.read(body))
                if isinstance(row, Lease):
                    leases[mark] = row if mark in self._leases else None
                rows.append(row)
        self._leases = leases
        return scan_of(rows)
