"""Replies as pages: what is believed, and what is asked for again."""

from __future__ import annotations

import pytest

from consumer.errors import StreamThrottled
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.pages import believed, page_of
from consumer.streams.source import Page, Shard
from consumer.streams.wire import WirePage

RECORD = KinesisRecord.from_entry({"SequenceNumber": "1", "Data": b""})


class Replies:
    """Answers in turn; what is left over was not asked for."""

    def __init__(self, *answers: Page | Exception) -> None:
        self.left = list(answers)

    async def __call__(self) -> Page:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


PLAIN = Page((), "next")
END = Page((), None)
NAMED_END = Page((), None, children=(Shard("b", ("a",)),))
BROKEN = Page((), "next", skipped=1)


@pytest.mark.parametrize("page", [PLAIN, NAMED_END, Page((), "next", skipped=0)])
async def test_an_ordinary_page_is_asked_for_once(page: Page) -> None:
    replies = Replies(page, StreamThrottled())
    assert await believed(replies, "a") is page


@pytest.mark.parametrize("first", [END, BROKEN])
@pytest.mark.parametrize("second", [END, BROKEN, PLAIN, NAMED_END])
async def test_an_odd_page_is_asked_for_twice_and_the_second_answer_counts(first: Page, second: Page) -> None:
    replies = Replies(first, second, StreamThrottled())
    assert await believed(replies, "a") is second
    assert len(replies.left) == 1


async def test_where_the_second_answer_fails_the_first_is_not_believed() -> None:
    with pytest.raises(StreamThrottled):
        await believed(Replies(END, StreamThrottled("slow down")), "a")


def test_a_page_is_as_large_as_its_reply_and_has_the_children_that_its_source_believes() -> None:
    child = Shard("b", ("a",))
    reply = WirePage([RECORD], None, 7, (child, Shard("c", ("x",))), skipped=2, body_bytes=99)
    assert page_of(reply, children=(child,)) == Page([RECORD], None, 7, (child,), size_bytes=99, skipped=2)
    assert page_of(reply).children is None
