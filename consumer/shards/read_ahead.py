"""The pages of one shard that were read and are not processed yet, and whether there is room for one more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consumer.record import Record
from consumer.shards.budget import ByteBudget, Grant

__all__ = ["HeldPage", "ReadAhead"]

_PAGES_HELD = 4  # one always, three more by budget: tiny pages cost more than their bytes
_MOST_PAGES_HELD = 64  # with lanes: a slow record holds its page, and the lanes beside it want to go on


@dataclass(slots=True)
class HeldPage:
    """Records that were read and are still needed; ``taken`` counts those given to delivery, ``offset`` those done."""

    records: Sequence[Record]
    millis_behind_latest: int | None
    grant: Grant | None = field(repr=False, default=None)
    offset: int = 0
    taken: int = 0

    def take(self, most: int) -> Sequence[Record]:
        """The next records that were not taken yet, which are there."""
        begin, end = self.taken, min(self.taken + most, len(self.records))
        self.taken = end
        return self.records if end - begin == len(self.records) else self.records[begin:end]


class ReadAhead:
    """Of a shard that holds any page: each may hold one, further ones are charged to the worker's ``ByteBudget``."""

    __slots__ = ("_asked", "_budget", "_most_pages", "_pages", "_size_guess")

    def __init__(self, budget: ByteBudget, *, lanes: int = 1) -> None:
        self._budget = budget
        self._most_pages = max(_PAGES_HELD, min(2 * lanes, _MOST_PAGES_HELD))
        self._pages: tuple[HeldPage, ...] = ()
        self._asked: Grant | None = None
        self._size_guess = 0

    @property
    def front(self) -> HeldPage | None:
        """The oldest page not yet processed; None where none is left, and this is of no more use."""
        return self._pages[0] if self._pages else None

    @property
    def untaken(self) -> HeldPage | None:
        """The oldest page with records that were not taken yet."""
        return next((page for page in self._pages if page.taken < len(page.records)), None)

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether one more page may be read; its bytes are reserved until it is kept, or ``withdraw`` is called.

        ``wake`` is called once the budget has room where it has none now.
        """
        if len(self._pages) >= self._most_pages:
            self.withdraw()
            return False
        if self._asked is None:
            self._asked = self._budget.ask(self._size_guess, wake)
        return self._asked.granted

    def withdraw(self) -> None:
        """No page is to be read now, or none came of it."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.give_back()

    def keep(self, records: Sequence[Record], size_bytes: int, millis_behind_latest: int | None) -> None:
        """Hold on to what was just read, a page of this size: the next one is likely to have it, too."""
        page = HeldPage(records, millis_behind_latest)
        if self._asked is not None:
            page.grant, self._asked = self._asked, None
            page.grant.settle(size_bytes)
        self._size_guess = size_bytes
        self._pages = (*self._pages, page)

    def done_with(self, count: int) -> None:
        """The oldest ``count`` records that were taken are processed, or hold on to their pages no longer.

        Once all of a page are, the next one is the page that every shard may hold, and is charged no longer.
        """
        while count > 0:
            page = self._pages[0]
            of_page = min(count, len(page.records) - page.offset)
            page.offset += of_page
            count -= of_page
            if page.offset >= len(page.records):
                self._pages = self._pages[1:]
                for each in (page, *self._pages[:1]):
                    _uncharge(each)

    def close(self) -> None:
        """Nothing is read any more, and what is held is charged to nobody."""
        self.withdraw()
        for page in self._pages:
            _uncharge(page)


def _uncharge(page: HeldPage) -> None:
    if page.grant is not None:
        page.grant.give_back()
        page.grant = None
