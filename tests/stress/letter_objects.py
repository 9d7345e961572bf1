"""Stores of dead letters in the middle of their work: a message taken from a queue, a notification on its way."""

from __future__ import annotations

from contextlib import AsyncExitStack
from uuid import uuid4

from consumer.dead_letters.opening import open_store
from tests.contract.letter_stores import aws_session, client, make_queue
from tests.dead_letters import change

__all__ = ["LettersAtHand"]

_LETTER = change(1)


class LettersAtHand:
    """A store that has stored a letter, told a topic of it, and looked at it."""

    def __init__(self, kind: str, folder: str, endpoint_url: str) -> None:
        name = f"stress-{uuid4().hex[:12]}"
        topic = client("sns", endpoint_url).create_topic(Name=name)["TopicArn"]
        address = f"file:{folder}/{name}" if kind == "file" else f"sqs:{make_queue(name, endpoint_url)}"
        self.store = open_store(address, topic=topic, session=aws_session(endpoint_url), region_name="us-east-1")
        self.stack = AsyncExitStack()

    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.store.open())
            await self.store.put([_LETTER])
            assert await self.store.find(_LETTER.identity) == _LETTER
            self.stack = stack.pop_all()

    async def stop(self) -> None:
        await self.stack.aclose()
