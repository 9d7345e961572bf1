"""GetRecords of the canned server: a full page is a prepared buffer, anything else is made for the asking."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

from tests.benchmarks.canned.bodies import DYNAMODB_JSON, KINESIS_CBOR, KINESIS_JSON
from tests.benchmarks.canned.places import Iterator, stream_of
from tests.benchmarks.canned.prepared import RECORDS_A_PAGE, Frame, Page, Pages

__all__ = ["Heads", "Reader", "readers"]

_BEFORE_DATE: Final = b"HTTP/1.1 200 OK\r\nDate: "


class Heads:
    """Status lines and headers, the same for all services. ``second`` is what the clock on the wall shows."""

    def __init__(self) -> None:
        self._second = -1
        self.date = b""

    def tick(self, second: int) -> None:
        """Replies carry this second from now on."""
        if second != self._second:
            self._second, self.date = second, formatdate(second, usegmt=True).encode()

    def of(self, content_type: str, length: int, status: int = 200) -> bytes:
        """One head. The date has one place in every head of a success."""
        start = _BEFORE_DATE if status == 200 else b"HTTP/1.1 %d Bad Request\r\nDate: " % status
        return b"%b%b\r\nContent-Type: %b\r\nContent-Length: %d\r\nx-amzn-RequestId: %b\r\n\r\n" % (
            start,
            self.date,
            content_type.encode(),
            length,
            b"5eed5eed-5eed-5eed-5eed-5eed5eed5eed",
        )

    def write(self, page: Page) -> None:
        """The date into a prepared page."""
        page.buffer[len(_BEFORE_DATE) : len(_BEFORE_DATE) + len(self.date)] = self.date


class Reader:
    """Pages of one service in one encoding."""

    def __init__(self, frame: Frame, heads: Heads) -> None:
        self._frame = frame
        self._heads = heads
        self._pages = Pages(frame, lambda length: heads.of(frame.content_type, length))

    def read(self, text: str, limit: int | None, seconds: float) -> bytes | Page:
        """The whole reply, head included; a Page is to be given back. Raises UnknownPlace for a foreign iterator."""
        place = Iterator.read(text)
        available = stream_of(place.stream).available(seconds)
        number, inside = divmod(place.position, RECORDS_A_PAGE)
        # Pages end where numbers do, so that a reader which resumed inside one is on the prepared ones again.
        count = min(limit or RECORDS_A_PAGE, RECORDS_A_PAGE - inside)
        if available is not None:
            count = max(0, min(count, available - place.position))
        after = place._replace(position=place.position + count).text
        if count == RECORDS_A_PAGE:
            page = self._pages.take(number, after)
            self._heads.write(page)
            return page
        body = self._frame.body(place.position, count, after)
        return self._heads.of(self._frame.content_type, len(body)) + body

    def give(self, page: Page) -> None:
        """Back, once it is sent."""
        self._pages.give(page)


def readers(heads: Heads) -> dict[tuple[str, bool], Reader]:
    """A reader for each service, and whether in CBOR."""
    return {
        ("dynamodb", False): Reader(DYNAMODB_JSON, heads),
        ("kinesis", False): Reader(KINESIS_JSON, heads),
        ("kinesis", True): Reader(KINESIS_CBOR, heads),
    }
