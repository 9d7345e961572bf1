"""Pages of a thousand records, prepared once: of a page that is asked for, only digits are written.

All records of a kind are equally long, and differ in the digits of their number alone. A page is a buffer with the
whole reply; to make it the page of other numbers, each digit that differs is written into all thousand records by one
strided assignment. So the server has records without end, and its time goes into ``send``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.canned.places import ITERATOR_LENGTH

__all__ = ["RECORDS_A_PAGE", "Frame", "Page", "Pages"]

RECORDS_A_PAGE: Final = 1000
# Numbers that between them have every digit in every place of a page's number.
_DIGITS: Final = tuple(digit * 111_111_111 * RECORDS_A_PAGE for digit in range(9))
_FILLS: Final = tuple(bytes([value]) * RECORDS_A_PAGE for value in range(256))


@dataclass(frozen=True, slots=True)
class Frame:
    """A reply's body around its records.

    ``start(records, iterator)`` is what stands before them; its length may depend on nothing but the number of records
    being less than a full page's. ``record(number)`` is one, always equally long.
    """

    content_type: str
    start: Callable[[int, str], bytes]
    record: Callable[[int], bytes]
    separator: bytes
    end: bytes

    def body(self, first: int, count: int, iterator: str) -> bytes:
        """The body with records ``first`` to ``first + count - 1``, made anew."""
        records = self.separator.join(self.record(number) for number in range(first, first + count))
        return self.start(count, iterator) + records + self.end


class Page:
    """One buffer: the whole reply, head included. ``number`` is the page it is just now."""

    __slots__ = ("buffer", "number")

    def __init__(self, content: bytes) -> None:
        self.buffer = bytearray(content)
        self.number = 0


class Pages:
    """Buffers of one kind of reply. ``take`` one, send it, ``give`` it back."""

    def __init__(self, frame: Frame, head: Callable[[int], bytes]) -> None:
        self._frame = frame
        blank = "?" * ITERATOR_LENGTH
        start = frame.start(RECORDS_A_PAGE, blank)
        body = frame.body(0, RECORDS_A_PAGE, blank)
        prefix = head(len(body))
        self._first = len(prefix) + len(start)
        self._iterator_at = len(prefix) + start.index(blank.encode())
        self._content = prefix + body
        self._stride = len(frame.record(0)) + len(frame.separator)
        self._end = self._first + self._stride * RECORDS_A_PAGE - len(frame.separator)
        examples = [frame.record(number) for number in _DIGITS]
        self._digits = tuple(at for at, seen in enumerate(zip(*examples, strict=True)) if len(set(seen)) > 1)
        self._free: list[Page] = []

    def take(self, number: int, iterator: str) -> Page:
        """A buffer that is page ``number`` (records from 1,000 times that) and goes on at ``iterator``."""
        page = self._free.pop() if self._free else Page(self._content)
        if page.number != number:
            self._write(page, number)
        page.buffer[self._iterator_at : self._iterator_at + len(iterator)] = iterator.encode()
        return page

    def give(self, page: Page) -> None:
        """Back, to be written over: nobody sends it any more."""
        self._free.append(page)

    def _write(self, page: Page, number: int) -> None:
        old = self._frame.record(page.number * RECORDS_A_PAGE)
        new = self._frame.record(number * RECORDS_A_PAGE)
        buffer, first, end, stride = page.buffer, self._first, self._end, self._stride
        for at in self._digits:
            if old[at] != new[at]:
                buffer[first + at : end : stride] = _FILLS[new[at]]
        page.number = number
